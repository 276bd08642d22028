#include "actors/node/freight.hpp"

#include "actors/node/descriptors.hpp"
#include "formats/read_log.hpp"

#include <fcntl.h>

namespace viva::actors::node {
namespace {

namespace fs = std::filesystem;

expected<void> add(freight& to, const fs::path& file, manifest_file what) {
  auto opened = std::make_shared<const descriptor>(
    ::open(file.c_str(), (what.written ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!*opened)
    return tl::unexpected(system_error("open", file, what.written));
  to.files.push_back(std::move(opened));
  to.names.push_back(file);
  to.list.files.push_back(std::move(what));
  return {};
}

/// Every file that planning looked into, with what it read there.
expected<void> add_sources(freight& to, const assignment& what, const formats::read_log& log) {
  for (const auto& [file, seen] : log.seen()) {
    const auto number = static_cast<std::uint32_t>(to.files.size());
    if (auto added = add(to, file, {name_of_copy(what, file).native(), seen.bytes, false}); !added)
      return added;
    for (const auto& [offset, bytes] : seen.ranges)
      to.list.seeds.push_back({number, offset, bytes});
  }
  to.list.seeds = merged(std::move(to.list.seeds));
  return {};
}

} // namespace

expected<std::shared_ptr<const freight>> load_freight(const assignment& what, const plan& work) {
  take_descriptors(); // a source of a thousand files is open twice: mapped, and here
  auto made = std::make_shared<freight>();
  {
    formats::read_log log;
    if (auto again = plan_again(what); !again)
      return tl::unexpected(again.error());
    if (auto added = add_sources(*made, what, log); !added)
      return tl::unexpected(added.error());
  }
  std::vector<fs::path> sources;
  for (const auto& file : work.sources)
    sources.push_back(name_of_copy(what, fs::absolute(file)));
  const auto here = partial_files(work, output_of(what));
  const auto outputs = partial_files(work, name_of_copy(what, output_of(what)));
  for (std::size_t i = 0; i < here.size(); ++i)
    if (auto added = add(*made, here[i], {outputs[i].native(), work.output.files[i].bytes, true});
        !added)
      return tl::unexpected(added.error());
  auto numbers = number_files(work, made->list, sources, outputs);
  if (!numbers)
    return tl::unexpected(numbers.error());
  made->numbers = std::move(*numbers);
  return std::shared_ptr<const freight>(std::move(made));
}

} // namespace viva::actors::node
