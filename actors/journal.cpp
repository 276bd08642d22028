#include "actors/journal.hpp"

#include <caf/all.hpp>

#include <csignal>

namespace viva::actors {
namespace {

expected<void> make_durable(journal_file& file, const commit& what) {
  if (auto synced = what.site->place.sync(); !synced)
    return synced;
  return file.append(what.records);
}

expected<void> give_name(const publish& what) {
  for (const auto& [where, text] : what.late)
    if (auto done = what.site->place.write(where, std::as_bytes(std::span(text))); !done)
      return done;
  return what.site->place.publish(what.site->overwrite);
}

journal_answer answer(const expected<void>& done) {
  return done ? journal_answer{} : journal_answer{done.error()};
}

} // namespace

caf::behavior journal(caf::event_based_actor*, std::shared_ptr<journal_file> file) {
  auto durable = std::make_shared<std::uint64_t>(0);
  return {
    [file, durable](const commit& what) {
      auto result = answer(make_durable(*file, what));
      *durable += what.records.size();
      const auto stop_after = what.site->faults.stop_after;
      if (stop_after != 0 && *durable >= stop_after)
        std::raise(SIGKILL); // a crash put in on purpose: nothing gets a chance to tidy up
      return result;
    },
    [](const publish& what) { return answer(give_name(what)); },
  };
}

} // namespace viva::actors
