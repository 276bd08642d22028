#include "actors/node/courier.hpp"

#include <condition_variable>
#include <mutex>

namespace viva::actors::node {

struct courier::gate {
  std::mutex guard;
  std::condition_variable closed;
  std::size_t open = 0;
};

/// One turn: the requests that it is made of, and the first problem.
struct courier::tally {
  std::shared_ptr<gate> with;
  std::function<std::string(std::uint32_t)> name;
  std::function<void(const arrival&)> told;
  std::size_t left;
  arrival result;

  void note(std::uint32_t file, error why) {
    if (result.problem.code != errc::ok)
      return;
    // A client tells its own file's problems by these codes, the node's by others.
    result.ours = result.was == arrival::what::brought
                    ? why.code == errc::unreadable
                    : why.code == errc::disk_full || why.code == errc::cannot_write;
    if (result.ours)
      why.text = name(file) + ": " + why.text;
    result.problem = std::move(why);
  }
};

courier::courier(courier_options options, std::function<void(const arrival&)> told)
  : x_options(std::move(options)), x_told(std::move(told)), x_gate(std::make_shared<gate>()) {
  for (auto* each : {&x_there, &x_back})
    *each = std::make_unique<bulk_client>(x_options.threads, x_options.where, x_options.key,
                                          bulk_options{.security = x_options.security});
}

courier::~courier() {
  x_there.reset();
  x_back.reset();
  std::unique_lock hold(x_gate->guard);
  x_gate->closed.wait(hold, [this] { return x_gate->open == 0; });
}

bulk_client::done courier::counted(const std::shared_ptr<tally>& in, std::uint32_t file) {
  {
    const std::lock_guard hold(x_gate->guard);
    ++x_gate->open;
  }
  return [in, file](expected<void> how) {
    bool last = false;
    {
      const std::lock_guard hold(in->with->guard);
      if (!how)
        in->note(file, std::move(how.error()));
      last = --in->left == 0;
    }
    if (last)
      in->told(in->result);
    const std::lock_guard hold(in->with->guard);
    if (--in->with->open == 0)
      in->with->closed.notify_all();
  };
}

void courier::bring(std::uint64_t number, const std::vector<byte_range>& ranges) {
  const arrival begun{arrival::what::brought, number, {}, false};
  const auto count = std::make_shared<tally>(
    tally{x_gate, x_options.name, x_told, ranges.size(), begun});
  if (ranges.empty())
    return x_told(count->result);
  for (const auto& each : ranges)
    x_there->put(x_options.file(each.file), each.offset, each,
                 counted(count, each.file));
}

void courier::fetch(std::uint64_t number, const std::vector<byte_range>& ranges) {
  const arrival begun{arrival::what::fetched, number, {}, false};
  const auto count = std::make_shared<tally>(
    tally{x_gate, x_options.name, x_told, ranges.size(), begun});
  if (ranges.empty())
    return x_told(count->result);
  for (const auto& each : ranges)
    x_back->get(each, x_options.file(each.file), each.offset, counted(count, each.file), number);
}

void courier::give_up(std::uint64_t number) {
  x_back->give_up(number);
}

} // namespace viva::actors::node
