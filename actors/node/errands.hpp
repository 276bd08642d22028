#pragma once

// Errands: the batches that one node has whose files it does not see, from the order to receipts
// whose bytes are here (letters.hpp has the steps). Of one link, on its thread.
//
// Nothing is fetched that another link fetches just now or has fetched (claims.hpp): such a batch
// waits, and is answered without a byte where what is here came out the same. A fetch that a second
// run overtakes is given up, and its batch waits, too.

#include "actors/lane_frames.hpp"
#include "actors/node/claims.hpp"
#include "actors/node/courier.hpp"
#include "actors/node/freight.hpp"
#include "actors/node/letters.hpp"

#include <functional>
#include <map>

namespace viva::actors::node {

class errands {
public:
  struct hooks {
    std::function<void(word, std::string)> tell; ///< The node.
    /// Receipts of that batch, to who speaks for that life of a lane.
    std::function<void(std::uint32_t lane, std::uint32_t life, std::uint64_t batch, std::string)>
      deliver;
    /// From any thread, even after these errands are gone: `look_again` on theirs.
    std::function<void()> again;
  };

  errands(site_ptr site, std::shared_ptr<const freight> goods, std::shared_ptr<claims> of_job,
          std::unique_ptr<courier> by, hooks say);
  /// Nothing is written here any more, and others may fetch what these did not.
  ~errands();
  errands(const errands&) = delete;
  errands& operator=(const errands&) = delete;

  // Each returns code ok, or why the node is of no use any more.
  [[nodiscard]] error take(const parcel& order);
  [[nodiscard]] error ready(const turn& what);
  [[nodiscard]] error receipts(const parcel& what);
  [[nodiscard]] error arrived(const arrival& what);
  /// Others fetch less than before, or want what these fetch.
  void look_again();

  /// True while the end of that lane may not be told: what it did is being fetched, or will be.
  bool fetches(std::uint32_t lane, std::uint32_t life) const;
  /// True while bytes for that lane are on their way, which has a patience of its own (bulk.hpp).
  bool moves(std::uint32_t lane, std::uint32_t life) const;
  /// Nobody wants any more what it had.
  void drop(std::uint32_t lane, std::uint32_t life);

private:
  enum class stage : std::uint8_t { asked, bringing, there, waiting, fetching, home };
  struct errand {
    std::uint32_t lane = 0, life = 0;
    work_order order;
    stage is = stage::asked;
    bool dropped = false;
    bool gives_up = false; ///< Its fetch, to one that overtakes it.
    work_receipts done;
    std::vector<std::uint32_t> claimed; ///< Shards, while it fetches them.
  };
  using all = std::map<std::uint64_t, errand>; ///< By the number of the batch.

  error end_bringing(all::iterator at, const arrival& what);
  void begin_fetching(all::iterator at);
  error end_fetching(all::iterator at, const arrival& what);
  /// Behind what its lane was given before: lanes answer in the order of their batches.
  void hand_in(all::iterator at);
  void let_go(all::iterator at);
  expected<error> check(const errand& of) const;
  void compare(work_receipts& done) const;

  site_ptr x_site;
  std::shared_ptr<const freight> x_goods;
  std::shared_ptr<claims> x_claims;
  hooks x_say;
  all x_all;
  std::unique_ptr<courier> x_by; // goes first: it calls back
};

} // namespace viva::actors::node
