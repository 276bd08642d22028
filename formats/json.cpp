#include "formats/json.hpp"

#include "formats/shown.hpp"

#include <unordered_set>
#include <vector>

namespace viva::formats {

namespace {

constexpr int depth_max = 128; // serde's limit, which the engines' readers share

/// Watches a parse for what the parser itself lets pass.
template <class Json>
class watch {
public:
  std::string fault;

  bool operator()(int depth, typename Json::parse_event_t event, Json& parsed) {
    using kind = typename Json::parse_event_t;
    if (depth > depth_max)
      fault = "is nested more than 128 deep";
    if (event == kind::object_start)
      x_keys.emplace_back();
    else if (event == kind::object_end)
      x_keys.pop_back();
    else if (event == kind::key)
      note(parsed.template get_ref<const std::string&>());
    return true;
  }

private:
  void note(const std::string& key) {
    if (!x_keys.back().insert(key).second && fault.empty())
      fault = "has the key " + shown(key) + " twice in one object";
  }

  std::vector<std::unordered_set<std::string>> x_keys;
};

} // namespace

template <class Json>
expected<Json> parse_object(const std::string& text, const std::filesystem::path& file) {
  watch<Json> seen;
  auto parsed = Json::parse(text, std::ref(seen), false);
  if (seen.fault.empty() && parsed.is_discarded())
    seen.fault = "is no valid JSON in UTF-8";
  else if (seen.fault.empty() && !parsed.is_object())
    seen.fault = "must be one JSON object";
  if (!seen.fault.empty())
    return fail(errc::malformed,
                shown(file) + ": " + seen.fault + "; mend it, or copy or download it again");
  return parsed;
}

template expected<nlohmann::json> parse_object(const std::string&, const std::filesystem::path&);
template expected<nlohmann::ordered_json> parse_object(const std::string&,
                                                       const std::filesystem::path&);

} // namespace viva::formats
