#include "actors/pipeline/resident_store.hpp"

#include <algorithm>
#include <utility>

namespace viva::actors {

resident_store::place resident_store::place_for(std::shared_ptr<resident_tensor> tensor) {
  book one;
  const auto number = tensor->number;
  const std::weak_ptr<const resident_tensor> known = tensor;
  one.emplace(number, entry{std::move(tensor), known});
  return one.extract(number);
}

void resident_store::add(place what) noexcept {
  const std::lock_guard lock{x_guard};
  x_tensors.insert(std::move(what));
}

std::shared_ptr<resident_tensor> resident_store::find(std::uint64_t number) const {
  const std::lock_guard lock{x_guard};
  const auto at = x_tensors.find(number);
  return at == x_tensors.end() ? nullptr : at->second.held;
}

std::shared_ptr<const resident_tensor> resident_store::known(std::uint64_t number) const {
  const std::lock_guard lock{x_guard};
  const auto at = x_tensors.find(number);
  return at == x_tensors.end() ? nullptr : at->second.known.lock();
}

std::shared_ptr<resident_tensor> resident_store::remove(std::uint64_t number) noexcept {
  const std::lock_guard lock{x_guard};
  const auto at = x_tensors.find(number);
  if (at == x_tensors.end() || !at->second.held)
    return nullptr;
  auto tensor = std::exchange(at->second.held, nullptr);
  tensor->dropped = true;
  if (++x_dropped > x_dropped_max) { // as many again before the next look: it costs little a drop
    x_dropped -= std::erase_if(x_tensors, [](const auto& e) { return e.second.known.expired(); });
    x_dropped_max = 2 * x_dropped + 64;
  }
  return tensor;
}

void resident_store::put_back(const std::shared_ptr<resident_tensor>& tensor) noexcept {
  const std::lock_guard lock{x_guard};
  const auto at = x_tensors.find(tensor->number);
  if (at == x_tensors.end())
    return; // it was never added
  tensor->dropped = false;
  at->second.held = tensor;
  --x_dropped;
}

void resident_store::read(resident_request& what, std::function<bool()> wanted,
                          std::function<void()> then) {
  x_reader.soon([&what, wanted = std::move(wanted), then = std::move(then)] {
    if (wanted())
      what.read();
    then();
  });
}

} // namespace viva::actors
