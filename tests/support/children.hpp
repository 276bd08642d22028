#pragma once

// Children that do as a test tells them, and the diary they write in.

#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"
#include "tests/support/catch.hpp"

#include <caf/all.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace viva::supervision::testing {

struct end_now { caf::error reason; }; // the child quits with it
struct throw_now { std::string text; };
struct be_deaf {};                     // from now on only a kill ends it
struct load { std::shared_ptr<int> weight; }; // an argument whose owners can be counted
struct end_late { caf::error reason; }; // answers a shutdown with this reason

/// What children did, in order: "+a" started, "-a" ended.
using diary = std::shared_ptr<std::vector<std::string>>;

} // namespace viva::supervision::testing

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::testing::end_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::testing::throw_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::testing::be_deaf)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::testing::end_late)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::testing::load)

namespace viva::supervision::testing {

inline caf::behavior obedient(caf::event_based_actor* self, diary book, std::string id) {
  self->attach_functor([=] { book->push_back("-" + id); });
  return {
    [=](end_now& how) { self->quit(std::move(how.reason)); },
    [=](throw_now& what) { throw std::runtime_error(what.text); },
    [=](be_deaf) { self->set_exit_handler([](caf::exit_msg&) {}); },
    [=](end_late& how) {
      self->set_exit_handler([=](caf::exit_msg&) { self->quit(how.reason); });
    },
    [](int x) { return x + 1; },
  };
}

/// A child that writes in the diary. `start` may be replaced by the test.
inline child_spec member(std::string id, diary book, restart_type restart = permanent) {
  return {.id = id,
          .start = [=](auto* sup) {
            book->push_back("+" + id);
            return spawn(sup, obedient, book, id);
          },
          .restart = restart};
}

} // namespace viva::supervision::testing
