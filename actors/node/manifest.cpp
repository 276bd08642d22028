#include "actors/node/manifest.hpp"

#include "actors/workplace.hpp"

#include <map>

namespace viva::actors::node {
namespace {

std::vector<byte_range> renumbered(std::vector<byte_range> ranges,
                                   const std::vector<std::uint32_t>& numbers) {
  for (auto& each : ranges)
    each.file = numbers[each.file];
  return ranges;
}

} // namespace

std::vector<byte_range> file_numbers::of_sources(std::vector<byte_range> ranges) const {
  return renumbered(std::move(ranges), sources);
}

std::vector<byte_range> file_numbers::of_outputs(std::vector<byte_range> ranges) const {
  return renumbered(std::move(ranges), outputs);
}

std::vector<std::filesystem::path> partial_files(const plan& p,
                                                 const std::filesystem::path& output) {
  std::vector<std::filesystem::path> all;
  for (const auto& file : p.output.files)
    all.push_back(p.output.folder ? partial_path(output) / file.name : partial_path(output));
  return all;
}

expected<file_numbers> number_files(const plan& work, const manifest& list,
                                    const std::vector<std::filesystem::path>& sources,
                                    const std::vector<std::filesystem::path>& outputs) {
  std::map<std::string, std::uint32_t> known;
  for (std::uint32_t i = 0; i < list.files.size(); ++i)
    known[list.files[i].name] = i;
  bool all = sources.size() == work.sources.size() && outputs.size() == work.output.files.size();
  const auto find = [&](const std::filesystem::path& name, std::uint64_t bytes, bool written) {
    const auto found = known.find(name.native());
    all = all && found != known.end() && list.files[found->second].bytes == bytes
          && list.files[found->second].written == written;
    return all ? found->second : 0;
  };
  file_numbers made;
  for (std::size_t i = 0; all && i < sources.size(); ++i)
    made.sources.push_back(find(sources[i], work.source_file_bytes[i], false));
  for (std::size_t i = 0; all && i < outputs.size(); ++i)
    made.outputs.push_back(find(outputs[i], work.output.files[i].bytes, true));
  if (!all)
    return fail(errc::malformed, "the files of the job are not those that its plan has; did one "
                                 "change since? Run the job again");
  return made;
}

} // namespace viva::actors::node
