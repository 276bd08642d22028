#include "actors/ledger.hpp"
#include "tests/support/catch.hpp"

using viva::actors::ledger;
using viva::actors::ticket;

TEST_CASE("ledger: shards are taken lowest first, each once") {
  ledger book(3, 2);
  CHECK(book.take() == ticket{0, 1});
  CHECK(book.take() == ticket{1, 1});
  CHECK(book.take() == ticket{2, 1});
  CHECK_FALSE(book.take());
}

TEST_CASE("ledger: the first run home counts, the second is stale") {
  ledger book(1, 2);
  (void)book.take();
  CHECK(book.commit(0));
  CHECK_FALSE(book.commit(0));
  CHECK(book.complete());
  CHECK(book.done_count() == 1);
}

TEST_CASE("ledger: a shard that killed as many lanes as may runs once more, alone") {
  ledger book(2, 2);
  const auto first = *book.take();
  CHECK(book.give_back(first, true) == ledger::verdict::again);
  CHECK(book.give_back(first, true) == ledger::verdict::stale);
  const auto second = *book.take();
  CHECK(second == ticket{0, 2});
  CHECK(book.give_back(first, true) == ledger::verdict::stale);
  CHECK(book.give_back(second, true) == ledger::verdict::suspect);
  CHECK(book.has_suspects());
  CHECK(book.take() == ticket{1, 1}); // it does not wait among the others
  const auto alone = *book.take_suspect();
  CHECK(alone == ticket{0, 3});
  SECTION("and goes into quarantine where it kills again") {
    CHECK(book.give_back(alone, true) == ledger::verdict::quarantined);
    CHECK(book.quarantined() == std::vector<std::uint32_t>{0});
    CHECK(book.strikes(0) == 3);
    CHECK_FALSE(book.idle()); // shard 1 is out
    CHECK(book.commit(1));
    CHECK(book.idle());
    CHECK_FALSE(book.complete());
  }
  SECTION("and again where the lane died of something else") {
    CHECK(book.give_back(alone, false) == ledger::verdict::suspect);
    CHECK(book.take_suspect() == ticket{0, 4});
  }
  SECTION("and is done where it comes home, even late") {
    CHECK(book.give_back(alone, true) == ledger::verdict::quarantined);
    CHECK(book.commit(0));
    CHECK(book.quarantined_count() == 0);
    CHECK(book.commit(1));
    CHECK(book.complete());
  }
}

TEST_CASE("ledger: strikes and quarantine of an earlier life hold") {
  ledger book(3, 2);
  book.strike(0);
  book.strike(0);
  book.strike(1);
  book.quarantine(2);
  CHECK(book.take_suspect() == ticket{0, 1});
  const auto run = *book.take();
  CHECK(run == ticket{1, 1});
  CHECK(book.give_back(run, true) == ledger::verdict::suspect);
  CHECK_FALSE(book.take());
  CHECK(book.quarantined_count() == 1);
}

TEST_CASE("ledger: a held suspect is not taken before its release") {
  ledger book(1, 1);
  book.hold(0);
  book.strike(0);
  CHECK_FALSE(book.take_suspect());
  CHECK(book.idle());
  book.release(0);
  CHECK(book.take_suspect() == ticket{0, 1});
}

TEST_CASE("ledger: a late receipt of a lost run still counts, and the rerun is not handed out") {
  ledger book(1, 3);
  const auto first = *book.take();
  CHECK(book.give_back(first, true) == ledger::verdict::again);
  CHECK(book.commit(0));
  CHECK_FALSE(book.take());
  CHECK(book.complete());
}

TEST_CASE("ledger: a held shard waits for its release") {
  ledger book(2, 1);
  book.hold(0);
  CHECK(book.take() == ticket{1, 1});
  CHECK_FALSE(book.take());
  book.release(0);
  CHECK(book.take() == ticket{0, 1});
}

TEST_CASE("ledger: releasing a shard that is done brings it not back") {
  ledger book(1, 1);
  book.hold(0);
  CHECK(book.commit(0));
  book.release(0);
  CHECK_FALSE(book.take());
}

TEST_CASE("ledger: a run lost while its lane worked on another shard costs no strike") {
  ledger book(1, 2);
  for (int i = 0; i < 5; ++i)
    CHECK(book.give_back(*book.take(), false) == ledger::verdict::again);
  CHECK(book.strikes(0) == 0);
  CHECK(book.lost_before(0));
  CHECK(book.give_back(*book.take(), true) == ledger::verdict::again);
  CHECK(book.give_back(*book.take(), false) == ledger::verdict::again);
  CHECK(book.give_back(*book.take(), true) == ledger::verdict::suspect);
}

TEST_CASE("ledger: a copy beside the first run is no loss, and either may be home first") {
  ledger book(2, 2);
  CHECK_FALSE(book.take_copy(0)); // waits
  const auto first = *book.take();
  const auto copy = *book.take_copy(0);
  CHECK(copy == ticket{0, 2});
  CHECK_FALSE(book.take_copy(0)); // one is enough
  SECTION("the copy is lost, then the first") {
    CHECK(book.give_back(copy, true) == ledger::verdict::elsewhere);
    CHECK(book.give_back(copy, true) == ledger::verdict::stale);
    CHECK(book.next() == 1u);
    CHECK(book.give_back(first, false) == ledger::verdict::again);
    CHECK(book.take() == ticket{0, 3});
    CHECK_FALSE(book.take_copy(0)); // it has cost a lane
  }
  SECTION("both end their lanes") {
    CHECK(book.give_back(first, true) == ledger::verdict::elsewhere);
    CHECK(book.give_back(copy, true) == ledger::verdict::suspect);
    CHECK(book.strikes(0) == 2);
    CHECK(book.quarantined_count() == 0);
  }
  SECTION("one is home") {
    CHECK(book.commit(0));
    CHECK(book.give_back(first, true) == ledger::verdict::stale);
    CHECK(book.commit(1));
    CHECK(book.idle());
    CHECK(book.complete());
  }
}

TEST_CASE("ledger: where one lane's death makes a suspect, nothing runs twice at once") {
  ledger book(1, 1);
  (void)book.take();
  CHECK_FALSE(book.take_copy(0));
}
