#include "actors/journal.hpp"

#include "actors/durable.hpp"

#include <caf/all.hpp>

#include <csignal>

namespace viva::actors {
namespace {

journal_answer answer(const expected<void>& done) {
  return done ? journal_answer{} : journal_answer{done.error()};
}

} // namespace

caf::behavior journal(caf::event_based_actor*, std::shared_ptr<journal_file> file) {
  auto durable = std::make_shared<std::uint64_t>(0);
  return {
    [file, durable](const commit& what) {
      std::vector<journal_record> left_out;
      auto result = answer(make_durable(what.site->work, what.site->place, *file, what.records,
                                        left_out));
      result.left_out = std::move(left_out);
      *durable += what.records.size() - result.left_out.size();
      const auto stop_after = what.site->faults.stop_after;
      if (stop_after != 0 && *durable >= stop_after)
        std::raise(SIGKILL); // a crash put in on purpose: nothing gets a chance to tidy up
      return result;
    },
    [file](const publish& what) {
      const auto stop_at = what.site->faults.stop_at_naming;
      return answer(publish_output(what.site->place, *file, what.late, what.site->overwrite,
                                   [stop_at](naming_step reached) {
                                     if (static_cast<std::uint32_t>(reached) == stop_at)
                                       std::raise(SIGKILL);
                                   }));
    },
  };
}

} // namespace viva::actors
