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

TEST_CASE("ledger: a lost run is taken again until its attempts are spent") {
  ledger book(1, 2);
  const auto first = *book.take();
  CHECK(book.give_back(first, true) == ledger::verdict::again);
  CHECK(book.give_back(first, true) == ledger::verdict::stale);
  const auto second = *book.take();
  CHECK(second.run == 2);
  CHECK(book.give_back(first, true) == ledger::verdict::stale);
  CHECK(book.give_back(second, true) == ledger::verdict::spent);
  CHECK_FALSE(book.take());
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

TEST_CASE("ledger: a run lost while its lane worked on another shard costs no attempt") {
  ledger book(1, 2);
  for (int i = 0; i < 5; ++i)
    CHECK(book.give_back(*book.take(), false) == ledger::verdict::again);
  CHECK(book.lost_before(0));
  CHECK(book.give_back(*book.take(), true) == ledger::verdict::again);
  CHECK(book.give_back(*book.take(), false) == ledger::verdict::again);
  CHECK(book.give_back(*book.take(), true) == ledger::verdict::spent);
}
