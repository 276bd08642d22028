#include "actors/journal_file.hpp"

#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <unistd.h>

namespace viva::actors {
namespace {

constexpr std::string_view magic = "VIVAJRN1";
constexpr std::size_t head_bytes = 8; // length and check
constexpr std::uint32_t record_bytes_max = 64u << 20;
enum kind : char { opening = 1, done = 2 };

std::uint32_t check_of(std::string_view payload) {
  return static_cast<std::uint32_t>(XXH3_64bits(payload.data(), payload.size()));
}

template <class T>
void put(std::string& out, T v) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<char>(v >> (8 * i) & 255));
}

void put(std::string& out, const std::string& text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

template <class T>
bool take(std::string_view& in, T& v) {
  if (in.size() < sizeof(T))
    return false;
  v = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    v |= static_cast<T>(T{static_cast<std::uint8_t>(in[i])} << (8 * i));
  in.remove_prefix(sizeof(T));
  return true;
}

bool take(std::string_view& in, std::string& text) {
  std::uint32_t bytes = 0;
  if (!take(in, bytes) || in.size() < bytes)
    return false;
  text = in.substr(0, bytes);
  in.remove_prefix(bytes);
  return true;
}

std::string framed(const std::string& payload) {
  std::string out;
  put(out, static_cast<std::uint32_t>(payload.size()));
  put(out, check_of(payload));
  return out + payload;
}

/// The payload of a whole record at the beginning of `rest`; none where it is torn or damaged.
std::optional<std::string_view> payload_at(std::string_view rest) {
  std::uint32_t length = 0, check = 0;
  if (!take(rest, length) || !take(rest, check) || length == 0 || length > record_bytes_max
      || length > rest.size())
    return std::nullopt;
  const auto payload = rest.substr(0, length);
  const char kind_of = payload.front();
  if ((kind_of != opening && kind_of != done) || check_of(payload) != check)
    return std::nullopt;
  return payload;
}

/// True where a whole record stands anywhere in `rest`. Its checks pass by chance once in 2^32.
bool holds_record(std::string_view rest) {
  for (; rest.size() > head_bytes; rest.remove_prefix(1))
    if (payload_at(rest))
      return true;
  return false;
}

/// Reads one payload into `content`; false where its inside makes no sense.
bool understand(std::string_view payload, journal_content& content) {
  const char what = payload.empty() ? 0 : payload.front();
  payload.remove_prefix(payload.empty() ? 0 : 1);
  if (what == opening) {
    std::string key, value;
    while (!payload.empty()) {
      if (!take(payload, key) || !take(payload, value))
        return false;
      content.fingerprint[key] = value;
    }
    return true;
  }
  done_record record;
  if (what != done || !take(payload, record.shard) || !take(payload, record.checksum)
      || !take(payload, record.findings) || !payload.empty())
    return false;
  content.done.push_back(std::move(record));
  return true;
}

} // namespace

bool is_journal(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string head(magic.size(), '\0');
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(in.gcount()));
  return magic.starts_with(head);
}

expected<journal_content> read_journal(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in)
    return tl::unexpected(system_error("open", file, false));
  std::ostringstream all;
  all << in.rdbuf();
  const std::string bytes = std::move(all).str();
  journal_content content;
  if (bytes.size() < magic.size())
    return content;
  if (!std::string_view(bytes).starts_with(magic))
    return fail(errc::malformed, file.string() + ": is no journal of viva; move it away");
  std::size_t at = magic.size();
  content.good_bytes = at;
  while (at < bytes.size()) {
    const auto rest = std::string_view(bytes).substr(at);
    const auto payload = payload_at(rest);
    if (!payload || !understand(*payload, content)) {
      if (!holds_record(rest.substr(1)))
        break; // torn: it was never written whole
      return fail(errc::malformed, file.string() + ": the record at byte " + std::to_string(at)
                                     + " is damaged and others follow it; remove the journal and "
                                       "the .partial output to start anew");
    }
    at += head_bytes + payload->size();
    content.good_bytes = at;
  }
  if (content.fingerprint.empty())
    content = {}; // not even the opening is whole: nothing was ever durable
  return content;
}

std::string difference(const std::map<std::string, std::string>& journal,
                       const std::map<std::string, std::string>& asked) {
  for (const auto& [key, value] : asked) {
    const auto other = journal.find(key);
    if (other == journal.end())
      return key + " is new";
    if (other->second != value)
      return key + ": the journal has '" + other->second + "', now asked '" + value + "'";
  }
  for (const auto& [key, value] : journal)
    if (!asked.contains(key))
      return key + " is gone";
  return {};
}

expected<journal_file> journal_file::open(const std::filesystem::path& file,
                                          const std::map<std::string, std::string>& fingerprint,
                                          std::uint64_t good_bytes) {
  journal_file result;
  result.x_name = file;
  result.x_fd = descriptor{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)};
  if (result.x_fd.get() < 0)
    return tl::unexpected(system_error("create", file, true));
  if (::ftruncate(result.x_fd.get(), static_cast<off_t>(good_bytes)) != 0)
    return tl::unexpected(system_error("cut", file, true));
  result.x_end = good_bytes;
  if (good_bytes > 0)
    return result;
  std::string payload(1, opening);
  for (const auto& [key, value] : fingerprint) {
    put(payload, key);
    put(payload, value);
  }
  if (auto written = result.write(std::string(magic) + framed(payload)); !written)
    return tl::unexpected(written.error());
  const auto folder = file.parent_path();
  const descriptor dir{::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY)};
  if (dir.get() < 0 || ::fsync(dir.get()) != 0)
    return tl::unexpected(system_error("sync", folder, true));
  return result;
}

expected<void> journal_file::append(const std::vector<done_record>& records) {
  std::string bytes;
  for (const auto& record : records) {
    std::string payload(1, done);
    put(payload, record.shard);
    put(payload, record.checksum);
    put(payload, record.findings);
    bytes += framed(payload);
  }
  return write(bytes);
}

expected<void> journal_file::write(const std::string& bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const auto n = ::pwrite(x_fd.get(), bytes.data() + at, bytes.size() - at,
                            static_cast<off_t>(x_end + at));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return tl::unexpected(system_error("write", x_name, true));
    at += static_cast<std::size_t>(n);
  }
  x_end += bytes.size();
  if (::fdatasync(x_fd.get()) != 0)
    return tl::unexpected(system_error("sync", x_name, true));
  return {};
}

} // namespace viva::actors
