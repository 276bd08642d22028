#include "actors/durable.hpp"

namespace viva::actors {

// Once a sync failed nothing written before can be believed in this life: the system may call
// pages clean that never reached the disk, and the next sync would succeed.
expected<void> make_durable(const workplace& place, journal_file& file,
                            const std::vector<journal_record>& records) {
  if (auto synced = place.sync(); !synced) {
    file.condemn(synced.error());
    return synced;
  }
  return file.append(records);
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
