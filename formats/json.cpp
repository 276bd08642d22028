#include "formats/json.hpp"

#include "formats/shown.hpp"

#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace viva::formats {

namespace {

constexpr std::size_t depth_max = 128; // serde's limit, which the engines' readers share

/// Builds the document as the parser reads it, each value once and in its place. The parser's own
/// builder with a callback looks at all siblings again at the end of each object, and ordered_json
/// searches all keys for each new one: both are quadratic.
template <class Json>
class builder : public nlohmann::json_sax<Json> {
public:
  using string_t = typename Json::string_t;

  Json document;
  std::string fault;

  bool null() override {
    return put(Json(nullptr));
  }
  bool boolean(bool value) override {
    return put(Json(value));
  }
  bool number_integer(typename Json::number_integer_t value) override {
    return put(Json(value));
  }
  bool number_unsigned(typename Json::number_unsigned_t value) override {
    return put(Json(value));
  }
  bool number_float(typename Json::number_float_t value, const string_t&) override {
    return put(Json(value));
  }
  bool string(string_t& value) override {
    return put(Json(std::move(value)));
  }
  bool binary(typename Json::binary_t&) override {
    return false; // not in text
  }
  bool start_object(std::size_t) override {
    return open(Json::object());
  }
  bool start_array(std::size_t) override {
    return open(Json::array());
  }
  bool end_object() override {
    return close();
  }
  bool end_array() override {
    return close();
  }
  bool key(string_t& name) override {
    if (!x_open.back().keys.insert(name).second) {
      fault = "has the key " + shown(name) + " twice in one object";
      return false;
    }
    x_key = std::move(name);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    fault = "is no valid JSON in UTF-8";
    return false;
  }

private:
  /// An object or array whose end has not come. Its place is fixed: only the innermost grows.
  struct container {
    Json* value;
    std::unordered_set<std::string> keys;
  };

  bool put(Json value) {
    add(std::move(value));
    return true;
  }

  Json& add(Json value) {
    if (x_open.empty())
      return document = std::move(value);
    auto& into = *x_open.back().value;
    if (into.is_array()) {
      auto& items = into.template get_ref<typename Json::array_t&>();
      return items.emplace_back(std::move(value));
    }
    auto& members = into.template get_ref<typename Json::object_t&>();
    using member = typename Json::object_t::value_type;
    if constexpr (std::is_base_of_v<std::vector<member>, typename Json::object_t>)
      return members.std::vector<member>::emplace_back(std::move(x_key), std::move(value)).second;
    else
      return members.emplace(std::move(x_key), std::move(value)).first->second;
  }

  bool open(Json empty) {
    if (x_open.size() == depth_max) {
      fault = "is nested more than 128 deep";
      return false;
    }
    x_open.push_back({&add(std::move(empty)), {}});
    return true;
  }

  bool close() {
    x_open.pop_back();
    return true;
  }

  std::vector<container> x_open;
  std::string x_key; ///< Of the value that comes next, inside an object.
};

} // namespace

template <class Json>
expected<Json> parse_object(const std::string& text, const std::filesystem::path& file) {
  builder<Json> built;
  if (Json::sax_parse(text, &built) && !built.document.is_object())
    built.fault = "must be one JSON object";
  if (!built.fault.empty())
    return fail(errc::malformed,
                shown(file) + ": " + built.fault + "; mend it, or copy or download it again");
  return std::move(built.document);
}

template expected<nlohmann::json> parse_object(const std::string&, const std::filesystem::path&);
template expected<nlohmann::ordered_json> parse_object(const std::string&,
                                                       const std::filesystem::path&);

} // namespace viva::formats
