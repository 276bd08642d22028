// safetensors: reading a header, with the checks of the reference reader in its order, and those it
// leaves out (duplicate keys, keys that no tensor has).

#include "formats/safetensors.hpp"
#include "formats/shown.hpp"
#include "formats/source_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>
#include <unordered_set>

namespace viva::formats {

namespace {

constexpr std::uint64_t header_bytes_max = 100'000'000; // the reference's cap
constexpr std::uint64_t offset_max = (1ull << 48) - 1;  // the schema's bound
constexpr std::string_view damaged = "the file is damaged or truncated: copy or download it again";
constexpr std::string_view miswritten = "whatever wrote this file is at fault: write it again";

/// Hears the header's JSON word by word; nothing is kept that the format does not know, so a
/// hostile header costs no more memory than its own length. Returns false, and so stops, at the
/// first fault.
class header_listener : public nlohmann::json_sax<nlohmann::json> {
public:
  std::vector<tensor_entry> tensors;
  std::map<std::string, std::string> metadata;
  std::string fault; ///< What is wrong, naming the tensor; empty where all is well.

  bool null() override {
    return refuse("null");
  }
  bool boolean(bool) override {
    return refuse("a boolean");
  }
  bool number_integer(number_integer_t) override {
    return refuse("a negative number");
  }
  bool number_float(number_float_t, const string_t&) override {
    return refuse("a number that is no integer");
  }
  bool binary(binary_t&) override {
    return refuse("binary");
  }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(std::size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    if (fault.empty()) // `position` counts from 1; the parser's own text may hold bytes of the file
      fault = "is no valid JSON in UTF-8 at byte " + std::to_string(position + 7) + " of the file";
    return false;
  }

private:
  enum class place : std::uint8_t { outside, top, metadata, entry, shape, offsets, done };

  bool refuse(std::string_view what);
  bool begin_field(std::string& name);

  place x_place = place::outside;
  std::string x_name; ///< Of the tensor or metadata key we are in.
  std::string x_field;
  std::set<std::string> x_fields;
  std::unordered_set<std::string> x_names;
  std::vector<std::uint64_t> x_offsets;
};

bool header_listener::refuse(std::string_view what) {
  if (!fault.empty())
    return false;
  switch (x_place) {
  case place::outside:
  case place::done:
    fault = "must be one JSON object, and holds " + std::string(what);
    break;
  case place::top:
    fault = "has " + std::string(what) + " for " + shown(x_name);
    break;
  case place::metadata:
    fault = "has " + std::string(what) + " in __metadata__ for " + shown(x_name)
            + ", where only strings belong";
    break;
  default:
    fault = "tensor " + shown(x_name) + ": has " + std::string(what) + " for " + shown(x_field);
  }
  return false;
}

bool header_listener::number_unsigned(number_unsigned_t value) {
  if (x_place == place::shape) {
    tensors.back().shape.push_back(value);
    return true;
  }
  if (x_place != place::offsets)
    return refuse("a number");
  x_offsets.push_back(value);
  return x_offsets.size() <= 2 || refuse("more than two numbers");
}

bool header_listener::string(string_t& value) {
  if (x_place == place::metadata) {
    if (metadata.emplace(x_name, std::move(value)).second)
      return true;
    fault = "has the key " + shown(x_name) + " twice in __metadata__";
    return false;
  }
  if (x_place != place::entry || x_field != "dtype")
    return refuse("a string");
  tensors.back().dtype = std::move(value);
  return true;
}

bool header_listener::start_object(std::size_t) {
  if (x_place == place::outside) {
    x_place = place::top;
  } else if (x_place == place::top && x_name == "__metadata__") {
    x_place = place::metadata;
  } else if (x_place == place::top) {
    x_place = place::entry;
    x_fields.clear();
    tensors.emplace_back().name = x_name;
  } else {
    return refuse("an object");
  }
  return true;
}

bool header_listener::begin_field(std::string& name) {
  x_field = std::move(name);
  if (x_field != "dtype" && x_field != "shape" && x_field != "data_offsets")
    fault = "tensor " + shown(x_name) + ": has an unknown key " + shown(x_field);
  else if (!x_fields.insert(x_field).second)
    fault = "tensor " + shown(x_name) + ": has the key " + shown(x_field) + " twice";
  return fault.empty();
}

bool header_listener::key(string_t& name) {
  if (x_place == place::entry)
    return begin_field(name);
  x_name = std::move(name);
  if (x_place == place::top && !x_names.insert(x_name).second)
    fault = "has two entries called " + shown(x_name);
  return fault.empty();
}

bool header_listener::end_object() {
  if (x_place == place::entry) {
    for (const char* field : {"dtype", "shape", "data_offsets"})
      if (!x_fields.contains(field)) {
        fault = "tensor " + shown(x_name) + ": has no " + field;
        return false;
      }
    x_place = place::top;
  } else {
    x_place = x_place == place::metadata ? place::top : place::done;
  }
  return true;
}

bool header_listener::start_array(std::size_t) {
  if (x_place != place::entry || x_field == "dtype")
    return refuse("a list");
  x_place = x_field == "shape" ? place::shape : place::offsets;
  return true;
}

bool header_listener::end_array() {
  if (x_place == place::offsets) {
    if (x_offsets.size() != 2)
      return refuse("less than two numbers");
    tensors.back().begin = x_offsets[0];
    tensors.back().end = x_offsets[1];
    x_offsets.clear();
  }
  x_place = place::entry;
  return true;
}

/// Bytes that dtype and shape ask for. False, with a reason, where there is no such number.
bool size_of(const tensor_entry& tensor, std::uint64_t& bytes, std::string& fault) {
  const std::uint64_t bits = bits_of(tensor.dtype);
  if (bits == 0) {
    fault = "has the unknown dtype " + shown(tensor.dtype);
    return false;
  }
  std::uint64_t total = bits;
  const bool empty = std::ranges::find(tensor.shape, 0u) != tensor.shape.end();
  for (const auto extent : tensor.shape)
    if (__builtin_mul_overflow(total, extent, &total) && !empty) {
      fault = "has a shape whose size is beyond 64 bits";
      return false;
    }
  if (empty)
    total = 0;
  if (total % 8 != 0)
    fault = "has " + std::to_string(total) + " bits, which are no whole bytes";
  bytes = total / 8;
  return fault.empty();
}

/// What is wrong with the place of `tensor`, which should begin at `expected_begin`; empty if
/// nothing.
std::string misplaced(const tensor_entry& tensor, std::uint64_t expected_begin) {
  const auto offsets =
      "data_offsets [" + std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) + "]";
  if (tensor.begin > offset_max || tensor.end > offset_max)
    return offsets + " lie beyond 2^48";
  if (tensor.end < tensor.begin)
    return offsets + " run backwards";
  if (tensor.begin < expected_begin)
    return offsets + " overlap the tensor before, which ends at " + std::to_string(expected_begin);
  if (tensor.begin > expected_begin)
    return offsets + " leave a hole after " + std::to_string(expected_begin);
  std::string fault;
  std::uint64_t bytes = 0;
  if (size_of(tensor, bytes, fault) && bytes != tensor.bytes())
    fault = offsets + " hold " + std::to_string(tensor.bytes()) + " bytes; dtype and shape ask for "
            + std::to_string(bytes);
  return fault;
}

/// The length word, checked against the file.
expected<std::uint64_t> header_length(const source_file& source, const std::string& at) {
  if (source.bytes() < 8)
    return fail(errc::malformed, at + "has " + std::to_string(source.bytes())
                                     + " bytes, too few for a safetensors file; "
                                     + std::string(damaged));
  const auto word = source.read(0, 8);
  if (!word)
    return tl::unexpected(word.error());
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;)
    length = length << 8 | static_cast<unsigned char>((*word)[i]);
  if (length > header_bytes_max)
    return fail(errc::malformed, at + "claims a header of " + std::to_string(length)
                                     + " bytes, more than the " + std::to_string(header_bytes_max)
                                     + " that the format allows; is it a safetensors file?");
  if (length > source.bytes() - 8)
    return fail(errc::malformed, at + "claims a header of " + std::to_string(length)
                                     + " bytes and has only " + std::to_string(source.bytes())
                                     + " in all; " + std::string(damaged));
  return length;
}

} // namespace

expected<safetensors_header> read_header(const std::filesystem::path& file) {
  const auto at = shown(file) + ": ";
  const auto source = source_file::open(file);
  if (!source)
    return tl::unexpected(source.error());
  const auto length = header_length(*source, at);
  if (!length)
    return tl::unexpected(length.error());
  const auto text = source->read(8, *length);
  if (!text)
    return tl::unexpected(text.error());
  header_listener heard;
  if (!nlohmann::json::sax_parse(*text, &heard))
    return fail(errc::malformed, at + "header: " + heard.fault + "; " + std::string(miswritten));

  safetensors_header header{.tensors = std::move(heard.tensors),
                            .metadata = std::move(heard.metadata),
                            .data_begin = 8 + *length,
                            .file_bytes = source->bytes()};
  std::ranges::sort(header.tensors, [](const tensor_entry& a, const tensor_entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t end = 0;
  for (auto& tensor : header.tensors) {
    if (const auto fault = misplaced(tensor, end); !fault.empty())
      return fail(errc::malformed, at + "tensor " + shown(tensor.name) + ": " + fault + "; "
                                       + std::string(miswritten));
    end = tensor.end;
    tensor.begin += header.data_begin;
    tensor.end += header.data_begin;
  }
  if (end + header.data_begin != header.file_bytes)
    return fail(errc::malformed,
                at + "has " + std::to_string(header.file_bytes) + " bytes; its tensors end at byte "
                    + std::to_string(end + header.data_begin) + "; " + std::string(damaged));
  return header;
}

} // namespace viva::formats
