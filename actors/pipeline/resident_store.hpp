#pragma once

// Resident store: the tensors of a pipeline by number, and a thread that reads their files: a port
// that did so would keep all others waiting, and their supervisors.

#include "actors/pipeline/alarm.hpp"
#include "actors/pipeline/resident.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace viva::actors {

class resident_store {
  struct entry {
    std::shared_ptr<resident_tensor> held;       // null: dropped
    std::weak_ptr<const resident_tensor> known;
  };
  using book = std::map<std::uint64_t, entry>;

public:
  using place = book::node_type;

  std::uint64_t next_number() {
    return ++x_last;
  }
  /// Before its work begins: to add it takes no memory then.
  static place place_for(std::shared_ptr<resident_tensor>);
  void add(place) noexcept;
  /// Null: never added, or dropped.
  std::shared_ptr<resident_tensor> find(std::uint64_t number) const;
  /// Also what was dropped and lives on in what was made from it.
  std::shared_ptr<const resident_tensor> known(std::uint64_t number) const;
  /// It is dropped from now on.
  std::shared_ptr<resident_tensor> remove(std::uint64_t number) noexcept;
  /// It was not: lanes have it still.
  void put_back(const std::shared_ptr<resident_tensor>&) noexcept;

  /// Reads what the request wants of files, one request after the other, unless it is not wanted
  /// any more, then calls `then`. The request must stay until then.
  void read(resident_request&, std::function<bool()> wanted, std::function<void()> then);

private:
  std::atomic<std::uint64_t> x_last{0};
  mutable std::mutex x_guard;
  book x_tensors;
  std::size_t x_dropped = 0, x_dropped_max = 64; // entries of dropped ones; look for gone ones then
  alarm x_reader;
};

} // namespace viva::actors
