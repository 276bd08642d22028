// Rows in runs over two slots, without a device: every row once, the first refusal first, and
// memory that does not suffice costs length, not rows.

#include "kernels/slot_runs.hpp"
#include "tests/support/catch.hpp"

#include <vector>

namespace viva::kernels::testing {

namespace {

/// Two slots over a memory of `rows_max` rows each; what happened to them.
struct made_up {
  std::size_t rows_max = ~std::size_t{0};
  std::size_t refuses_at = ~std::size_t{0}; ///< Collecting the run with this row.
  std::size_t breaks_at = ~std::size_t{0};  ///< Putting it: the device is spoiled.
  std::vector<int> rows = {};               ///< How often each was taken.
  std::vector<std::size_t> lengths = {};    ///< Of runs that were put.
  std::size_t taken_to = 0, settled = 0, under_way = 0, most_under_way = 0;

  static bool holds(row_run run, std::size_t row) {
    return run.first <= row && row - run.first < run.count;
  }
  status run(std::size_t count, std::size_t step, std::size_t grain) {
    rows.assign(count, 0);
    bool spoiled = false;
    return in_two_slots(
        count, step, grain,
        [&](std::size_t, row_run r) -> status {
          spoiled = holds(r, breaks_at);
          if (spoiled || r.count > rows_max)
            return {errc::over_budget};
          lengths.push_back(r.count);
          most_under_way = std::max(most_under_way, ++under_way);
          return {};
        },
        [&](std::size_t, row_run r) -> status {
          --under_way;
          CHECK(r.first == taken_to); // in the order of rows
          taken_to = r.first + r.count;
          for (std::size_t i = r.first; i < taken_to; ++i)
            ++rows[i];
          return holds(r, refuses_at) ? status{errc::not_finite, refuses_at} : status{};
        },
        [&](std::size_t) -> status {
          CHECK(under_way == 0); // or memory would go from under a run
          ++settled;
          return {spoiled ? errc::fault : errc::ok};
        });
  }
};

} // namespace

TEST_CASE("slot runs: every row is computed once, two runs at a time, the last one shorter") {
  for (const std::size_t rows : {0u, 1u, 7u, 8u, 64u, 65u})
    for (const std::size_t step : {1u, 4u, 100u}) {
      made_up slots;
      INFO(rows << " rows by " << step);
      CHECK(slots.run(rows, step, 1) == status{});
      CHECK(slots.rows == std::vector<int>(rows, 1));
      CHECK(slots.lengths.size() == (rows + step - 1) / step);
      CHECK(slots.most_under_way == std::min<std::size_t>(2, slots.lengths.size()));
      CHECK(slots.settled == 0);
    }
}

TEST_CASE("slot runs: where memory is short, runs become half as long and no row is lost") {
  for (const std::size_t grain : {1u, 4u}) {
    made_up slots{.rows_max = 9};
    CHECK(slots.run(100, 64, grain) == status{});
    CHECK(slots.rows == std::vector<int>(100, 1));
    CHECK(slots.settled == 3); // 64, 32, 16
    for (const auto length : slots.lengths)
      CHECK((length == 8 || length == 100 % 8));
  }
  made_up slots{.rows_max = 3};
  CHECK(slots.run(100, 64, 4) == status{errc::over_budget}); // not even one grain
  CHECK(slots.taken_to == 0);
}

TEST_CASE("slot runs: of a device that breaks on the way, what was done before is taken") {
  made_up slots{.breaks_at = 40};
  CHECK(slots.run(100, 8, 1).code == errc::fault); // said by settle, which counts for more
  CHECK(slots.taken_to == 40);
  CHECK(slots.settled == 1);
}

TEST_CASE("slot runs: the first refusal is that of the first rows, and nothing is left under way") {
  made_up slots{.refuses_at = 17};
  CHECK(slots.run(100, 8, 1) == status{errc::not_finite, 17});
  CHECK(slots.under_way == 0);
  CHECK(slots.lengths.size() == 4); // the run with row 17 and, already on its way, the next
}

} // namespace viva::kernels::testing
