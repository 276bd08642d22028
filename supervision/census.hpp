#pragma once

// Census: who lives, as the supervisors know it, readable from any thread at any time.
//
// Each supervisor writes its own page when something changes; a dump copies the pages and asks
// nobody, so it is complete while a child is in a handler of a minute. A page has one writer, which
// may read its own entries without the lock; everybody else goes through `dump`.

#include "supervision/policy.hpp"
#include "supervision/reason.hpp"

#include <caf/actor.hpp>
#include <caf/actor_addr.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace viva::supervision {

enum class life : std::uint8_t { down, starting, up, stopping, restarting };

std::string_view to_string(life state) noexcept;

/// One child, as a dump shows it.
struct census_entry {
  std::string id{};
  child_type type = child_type::worker;
  life state = life::down;
  caf::actor_addr who{};         ///< Weak: the census keeps nobody alive.
  std::uint64_t restarts = 0;
  time_point since{};            ///< When `state` was entered.
  caf::error last_reason{};
};

/// One supervisor and its children in start order.
class census_page {
public:
  census_page(std::string name, caf::actor_addr who, time_point since)
      : x_name(std::move(name)), x_who(std::move(who)), x_since(since) {
  }

  census_entry& insert(std::uint64_t serial, census_entry entry);
  void erase(std::uint64_t serial);

  template <class Change>
  void change(census_entry& entry, Change apply) {
    std::lock_guard lock{x_guard};
    apply(entry);
  }

private:
  friend class census;
  std::mutex x_guard;
  std::string x_name;
  caf::actor_addr x_who;
  time_point x_since;
  std::map<std::uint64_t, census_entry> x_entries;
};

/// A copied tree. `mailbox` is known for children spawned by supervision::spawn.
struct tree {
  std::string id{};
  child_type type = child_type::worker;
  life state = life::down;
  std::uint64_t pid = 0;                ///< CAF's actor id; 0 if it is not alive.
  std::int32_t process = 0;             ///< The system's number of what it speaks for; 0: itself.
  std::uint64_t restarts = 0;
  std::optional<std::uint64_t> mailbox{}; ///< Messages waiting, the one in work included.
  milliseconds age{0};                  ///< In this state.
  std::string last_reason{};            ///< Of the last end; empty if there was none.
  std::vector<tree> children{};
};

class census {
public:
  void enter(std::shared_ptr<census_page> page);
  void leave(const std::shared_ptr<census_page>& page);

  /// Every supervisor that is no other's child, with all below it. `now` from the same clock as
  /// the supervisors' (the system's), which tests make virtual.
  std::vector<tree> dump(time_point now) const;

private:
  mutable std::mutex x_guard;
  std::vector<std::shared_ptr<census_page>> x_pages;
};

/// `viva tree`: one line per child, indented, and the same as one JSON array.
std::string to_text(const std::vector<tree>& roots);
std::string to_json(const std::vector<tree>& roots);

} // namespace viva::supervision
