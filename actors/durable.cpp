#include "actors/durable.hpp"

#include "actors/shard_ranges.hpp"

#include <xxhash.h>

#include <algorithm>

namespace viva::actors {
namespace {

/// Of the source bytes that a shard reads, range after range; 0 where they cannot be read.
std::uint64_t source_checksum(const plan& work, const workplace& place, const shard& s) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> hash(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset(hash.get());
  for (const auto& range : source_ranges(work, s)) {
    const auto bytes = place.source(range.file).subspan(range.offset, range.bytes);
    XXH3_64bits_update(hash.get(), bytes.data(), bytes.size());
    if (!place.check_read(range.file))
      return 0;
  }
  return XXH3_64bits_digest(hash.get());
}

/// Whether lanes stood still at it: then what stands still may be its source, to be left alone.
bool stood_still(const quarantine_record& what) {
  return std::ranges::any_of(what.reasons, [](const std::string& why) {
    return why.starts_with("stalled") || why.starts_with("hang");
  });
}

} // namespace

// Once a sync failed nothing written before can be believed in this life: the system may call
// pages clean that never reached the disk, and the next sync would succeed.
expected<void> make_durable(const plan& work, const workplace& place, journal_file& file,
                            std::vector<journal_record> records,
                            std::vector<journal_record>& left_out) {
  if (auto synced = place.sync(); !synced) {
    file.condemn(synced.error());
    return synced;
  }
  for (auto& each : records)
    if (auto* poison = std::get_if<quarantine_record>(&each); poison && !stood_still(*poison))
      poison->source_checksum = source_checksum(work, place, work.shards[poison->shard]);
  return file.append(records, &left_out);
}

void note_end(journal_file& file, const error& why) {
  // Where it cannot be written the job has said it all the same, to whoever asked for it.
  static_cast<void>(
    file.append({closing_record{std::string(to_string(why.code)), cut_words(why.text)}}));
}

expected<void> publish_output(const workplace& place, journal_file& file,
                              const std::vector<std::pair<placement, std::string>>& late,
                              bool overwrite, const std::function<void(naming_step)>& reached) {
  auto how = place.named();
  if (!how) {
    for (const auto& [where, text] : late)
      if (auto done = place.write(where, std::as_bytes(std::span(text))); !done)
        return done;
    auto finished = place.finish(overwrite);
    if (!finished)
      return tl::unexpected(finished.error());
    how = *finished;
    // Behind this record whoever finds the name given knows by whom, and that all is there.
    if (auto noted = file.append({*how}); !noted)
      return noted;
    reached(naming_step::recorded);
  }
  if (auto given = place.give_name(*how); !given)
    return given;
  reached(naming_step::named);
  place.remove_replaced(*how);
  reached(naming_step::replaced_removed);
  place.remove_journal();
  return {};
}

} // namespace viva::actors
