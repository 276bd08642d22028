#include "formats/checkpoint.hpp"

#include "formats/json.hpp"
#include "formats/shown.hpp"
#include "formats/source_file.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>

namespace viva::formats {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t json_bytes_max = 256ull << 20; // an index of a million tensors has 100 MB
constexpr std::string_view index_ending = ".safetensors.index.json";
constexpr std::string_view weights_ending = ".safetensors";

/// Endings of the same weights in other forms; copying them would bring the unquantized model
/// along.
constexpr std::array<std::string_view, 11> other_weights = {".safetensors",
                                                            ".gguf",
                                                            ".pth",
                                                            ".pt",
                                                            ".onnx",
                                                            ".onnx_data",
                                                            ".h5",
                                                            ".msgpack",
                                                            ".ot",
                                                            ".bin.index.json",
                                                            ".safetensors.index.json"};

bool is_left_behind(const std::string& name) {
  return name.starts_with('.') || name.ends_with(".partial") || name.ends_with(".journal")
         || (name.starts_with("pytorch_model") && name.ends_with(".bin"))
         || std::ranges::any_of(other_weights,
                                [&](std::string_view ending) { return name.ends_with(ending); });
}

error cannot_list(const fs::path& folder, const std::error_code& why) {
  return {errc::unreadable, shown(folder) + ": cannot list it: " + why.message()
                                + "; check the path and its permissions"};
}

/// Files worth copying, relative to `root`, sorted.
expected<std::vector<fs::path>> list_others(const fs::path& root) {
  std::vector<fs::path> found;
  std::error_code why;
  fs::recursive_directory_iterator at(root, why), end;
  for (; !why && at != end; at.increment(why)) {
    const auto name = at->path().filename().string();
    std::error_code ignored; // a dangling link is neither file nor folder
    if (at->is_directory(ignored)) {
      if (is_left_behind(name) || name == "original")
        at.disable_recursion_pending();
    } else if (at->is_regular_file(ignored) && !is_left_behind(name)) {
      found.push_back(at->path().lexically_relative(root));
    }
  }
  if (why)
    return tl::unexpected(cannot_list(root, why));
  std::ranges::sort(found);
  return found;
}

/// The weight files directly in `root`, and the indices beside them, sorted.
expected<std::pair<std::vector<std::string>, std::vector<std::string>>>
list_weights(const fs::path& root) {
  std::pair<std::vector<std::string>, std::vector<std::string>> found;
  std::error_code why;
  for (fs::directory_iterator at(root, why), end; !why && at != end; at.increment(why)) {
    auto name = at->path().filename().string();
    if (name.starts_with('.'))
      continue;
    if (name.ends_with(index_ending))
      found.second.push_back(std::move(name));
    else if (name.ends_with(weights_ending))
      found.first.push_back(std::move(name));
  }
  if (why)
    return tl::unexpected(cannot_list(root, why));
  std::ranges::sort(found.first);
  std::ranges::sort(found.second);
  return found;
}

/// weight_map of an index: tensor to file name.
using weight_map = std::unordered_map<std::string, std::string>;

expected<weight_map> read_index(const fs::path& path) {
  const auto text = read_text(path, json_bytes_max);
  if (!text)
    return tl::unexpected(text.error());
  const auto index = parse_object<nlohmann::json>(*text, path);
  if (!index)
    return tl::unexpected(index.error());
  const auto found = index->find("weight_map");
  if (found == index->end() || !found->is_object())
    return fail(errc::malformed, shown(path)
                                     + ": has no object weight_map; "
                                       "is it the index of a safetensors checkpoint?");
  weight_map map;
  for (const auto& [tensor, file] : found->items()) {
    const auto* name = file.get_ptr<const std::string*>();
    if (name == nullptr || name->empty() || name->find('/') != std::string::npos
        || name->find('\0') != std::string::npos || *name == "." || *name == ".."
        || !name->ends_with(weights_ending))
      return fail(errc::malformed, shown(path) + ": tensor " + shown(tensor) + ": its file "
                                       + shown(name == nullptr ? file.dump() : *name)
                                       + " is no plain *.safetensors name; mend the index");
    map.emplace(tensor, *name);
  }
  if (map.empty())
    return fail(errc::malformed, shown(path) + ": names no tensor; mend the index");
  return map;
}

/// Refuses tensors that two files hold.
expected<void> check_unique(const checkpoint& c) {
  std::unordered_map<std::string_view, const checkpoint_file*> seen;
  for (const auto& file : c.files)
    for (const auto& tensor : file.header.tensors)
      if (const auto [at, fresh] = seen.emplace(tensor.name, &file); !fresh)
        return fail(errc::malformed, shown(file.path) + ": tensor " + shown(tensor.name)
                                         + ": is in " + shown(at->second->name)
                                         + " too; remove one of the two files");
  return {};
}

/// Refuses names that only the index or only the files know.
expected<void> check_index(const checkpoint& c, const weight_map& map) {
  std::size_t tensors = 0;
  for (const auto& file : c.files)
    for (const auto& tensor : file.header.tensors) {
      const auto found = map.find(tensor.name);
      if (found == map.end() || found->second != file.name)
        return fail(errc::malformed, shown(file.path) + ": tensor " + shown(tensor.name)
                                         + ": the index says it is in "
                                         + (found == map.end() ? "no file" : shown(found->second))
                                         + "; mend " + shown(c.index));
      ++tensors;
    }
  if (tensors == map.size())
    return {};
  for (const auto& [name, file] : map) {
    const auto at = std::ranges::find(c.files, file, &checkpoint_file::name);
    if (std::ranges::find(at->header.tensors, name, &tensor_entry::name)
        == at->header.tensors.end())
      return fail(errc::malformed, shown(at->path) + ": tensor " + shown(name)
                                       + ": is missing, though the index says it is there; "
                                         "copy or download the file again");
  }
  return {};
}

expected<void> add_file(checkpoint& c, const fs::path& path) {
  auto header = read_header(path);
  if (!header)
    return tl::unexpected(header.error());
  c.files.push_back({path, path.filename().string(), std::move(*header)});
  return {};
}

/// Opens the shards that the index names.
expected<void> add_shards(checkpoint& c) {
  const auto map = read_index(c.root / c.index);
  if (!map)
    return tl::unexpected(map.error());
  std::set<std::string> names;
  for (const auto& [tensor, file] : *map)
    names.insert(file);
  for (const auto& name : names) {
    std::error_code ignored;
    if (!fs::exists(c.root / name, ignored))
      return fail(errc::unreadable, shown(c.root / c.index) + ": names the file " + shown(name)
                                        + ", which is not there; copy or download it");
    if (auto added = add_file(c, c.root / name); !added)
      return added;
  }
  if (auto unique = check_unique(c); !unique)
    return unique;
  return check_index(c, *map);
}

/// Which weights of a folder are meant: those of its one index, or its one file.
expected<void> add_weights(checkpoint& c) {
  const auto found = list_weights(c.root);
  if (!found)
    return tl::unexpected(found.error());
  const auto& [files, indices] = *found;
  const bool whole = std::ranges::find(files, "model.safetensors") != files.end();
  if (indices.size() > 1)
    return fail(errc::malformed, shown(c.root) + ": has " + std::to_string(indices.size())
                                     + " indices, such as " + shown(indices[0]) + " and "
                                     + shown(indices[1]) + "; leave one");
  if (indices.size() == 1) {
    c.index = indices.front();
    auto added = add_shards(c);
    const auto in_use = std::ranges::find(c.files, "model.safetensors", &checkpoint_file::name);
    if (added && whole && in_use == c.files.end())
      return fail(errc::malformed, shown(c.root)
                                       + ": has both model.safetensors and an index of "
                                         "other files; remove one, or name the file you mean");
    return added;
  }
  if (whole || files.size() == 1)
    return add_file(c, c.root / (whole ? "model.safetensors" : files.front()));
  return fail(errc::unreadable,
              shown(c.root)
                  + (files.empty()
                         ? ": holds no *.safetensors; name a file or a model's folder"
                         : ": holds several *.safetensors and no index; name the file you mean"));
}

} // namespace

expected<checkpoint> open_checkpoint(const fs::path& source) {
  checkpoint c{
      .root = source, .folder = false, .files = {}, .others = {}, .config = {}, .index = {}};
  std::error_code why;
  c.folder = fs::is_directory(source, why);
  if (!c.folder) {
    if (auto added = add_file(c, source); !added)
      return tl::unexpected(added.error());
    return c;
  }
  if (auto added = add_weights(c); !added)
    return tl::unexpected(added.error());
  auto others = list_others(source);
  if (!others)
    return tl::unexpected(others.error());
  c.others = std::move(*others);
  if (fs::exists(source / "config.json", why)) {
    auto config = read_text(source / "config.json", json_bytes_max);
    if (!config)
      return tl::unexpected(config.error());
    c.config = std::move(*config);
  }
  return c;
}

} // namespace viva::formats
