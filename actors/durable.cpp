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

expected<void> publish_output(const workplace& place,
                              const std::vector<std::pair<placement, std::string>>& late,
                              bool overwrite) {
  for (const auto& [where, text] : late)
    if (auto done = place.write(where, std::as_bytes(std::span(text))); !done)
      return done;
  return place.publish(overwrite);
}

} // namespace viva::actors
