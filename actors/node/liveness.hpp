#pragma once

// Liveness: who still lives, over connections and a thread of its own, so that neither a full link
// of bulk bytes nor a busy actor looks like a death. Both sides say a beat each period.

#include "actors/lease.hpp"
#include "actors/node/address.hpp"
#include "actors/node/bulk.hpp"
#include "actors/node/liveness_policy.hpp"
#include "actors/node/tls.hpp"

#include <functional>
#include <memory>

namespace viva::actors::node {

struct liveness_options {
  tls_ptr security; ///< Null: plain TCP.
  liveness_times times;
};

/// A coordinator's eye on its nodes. Its functions may be called from any thread.
class liveness_watch {
public:
  /// Called on the watch's thread with each change; it must not wait, nor end the watch. The first
  /// is `alive` or, where nobody ever answers, `lost`; nothing follows on `lost`.
  using changed = std::function<void(life)>;

  explicit liveness_watch(liveness_options how = {});
  /// Nobody is called afterwards.
  ~liveness_watch();
  liveness_watch(const liveness_watch&) = delete;
  liveness_watch& operator=(const liveness_watch&) = delete;

  /// Returns a number for `forget`. A node of another incarnation is not this one: lost. `who.job`
  /// is the join: what they have with each other now.
  std::uint64_t watch(const address& where, const job_key& who, changed then);
  /// Its connection is closed; a call that has begun may still be under way.
  void forget(std::uint64_t which);

private:
  struct house;
  std::unique_ptr<house> x_house;
};

/// A node's side: answers coordinators, and notices when they are gone.
class liveness_server {
public:
  /// Called on the server's thread, as above, with the epoch of the coordinator's life. One that
  /// was lost and comes back is alive anew.
  using changed = std::function<void(std::uint64_t epoch, life)>;
  /// The same: that coordinator has heard, in the meeting `join`, what this node said then.
  using heard =
    std::function<void(std::uint64_t epoch, std::uint64_t join, lease::time said)>;

  static expected<std::unique_ptr<liveness_server>>
  open(const address& where, std::uint64_t incarnation, liveness_options how, changed then,
       heard by = {});
  ~liveness_server();
  liveness_server(const liveness_server&) = delete;
  liveness_server& operator=(const liveness_server&) = delete;

  std::uint16_t port() const noexcept;
  /// Closed for not being a coordinator of ours: no certificate, no beat, another incarnation.
  std::uint64_t strangers() const noexcept;

private:
  struct house;
  explicit liveness_server(std::unique_ptr<house> made);
  std::unique_ptr<house> x_house;
};

} // namespace viva::actors::node
