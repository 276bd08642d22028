#include "tests/faults/check_files.hpp"

#include "actors/journal_file.hpp"
#include "actors/shard_ranges.hpp"
#include "formats/checkpoint.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace viva::faults {
namespace {

namespace fs = std::filesystem;

expected<actors::plan> planned(const journal_findings& journal, const fs::path& source) {
  const auto word = [&](const char* key) {
    const auto found = journal.fingerprint.find(key);
    return found == journal.fingerprint.end() ? std::string() : found->second;
  };
  const auto opened = formats::open_checkpoint(source);
  if (!opened)
    return tl::unexpected(opened.error());
  quantize_spec spec;
  spec.job = word("job");
  spec.source = source;
  spec.method = word("method");
  spec.layout = word("layout");
  spec.limits.shard_bytes_max = std::strtoull(word("shard_bytes").c_str(), nullptr, 10);
  if (spec.method.empty() || spec.limits.shard_bytes_max == 0)
    return fail(errc::bad_option, "the journal is of a job that cannot be planned from it");
  auto work = actors::plan_quantize(*opened, spec, {});
  if (!work)
    return work;
  if (const auto differs = actors::difference(journal.fingerprint, work->fingerprint);
      !differs.empty())
    return fail(errc::fingerprint_mismatch, source.string() + ": gives another plan: " + differs);
  return work;
}

std::string bytes_in(const fs::path& root, bool folder, const std::string& name,
                     const actors::byte_range& range) {
  std::ifstream in(folder ? root / name : root, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(range.offset));
  std::string bytes(range.bytes, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  return bytes;
}

} // namespace

expected<file_findings> check_files(const journal_findings& journal, const fs::path& source,
                                    const fs::path& output, const fs::path& whole) {
  const auto work = planned(journal, source);
  if (!work)
    return tl::unexpected(work.error());
  file_findings found;
  for (const auto& [s, checksum] : journal.done) {
    ++found.shards;
    for (const auto& range : actors::output_ranges(*work, work->shards.at(s))) {
      const auto& name = work->output.files[range.file].name;
      const auto is = bytes_in(output, work->output.folder, name, range);
      const auto should = bytes_in(whole, work->output.folder, name, range);
      if (should.size() != range.bytes)
        return fail(errc::unreadable, whole.string() + ": ends before what shard "
                                        + std::to_string(s) + " writes; is it of this job?");
      found.bytes += range.bytes;
      if (is == should)
        continue;
      const auto at = std::ranges::mismatch(is, should).in2 - should.begin();
      found.broken.push_back("shard " + std::to_string(s) + " is done and its bytes are others at "
                             + std::to_string(range.offset + static_cast<std::uint64_t>(at))
                             + (name.empty() ? "" : " of " + name));
      break;
    }
  }
  return found;
}

} // namespace viva::faults
