#pragma once

// Courier: brings ranges of a coordinator's sources to one node, and fetches what was written there
// into OUT.partial, over two connections, so that neither way waits for the other.

#include "actors/node/bulk.hpp"

#include <functional>
#include <memory>
#include <string>

namespace viva::actors::node {

struct courier_options {
  std::shared_ptr<network> threads;
  address where; ///< The node's bulk port.
  job_key key;
  tls_ptr security;
  /// Of a range here, by its number; `name` for errors, on any thread.
  std::function<shared_file(std::uint32_t)> file;
  std::function<std::string(std::uint32_t)> name;
};

/// A turn over the bulk path has ended.
struct arrival {
  enum class what : std::uint8_t { brought, fetched } was = what::brought;
  std::uint64_t number = 0; ///< Of its batch.
  error problem;            ///< code ok: all of it.
  bool ours = false;        ///< A problem of a file here; else one of the node or the way to it.
};

class courier {
public:
  /// `told` is called once for each turn, perhaps before the call that began it returns, on any
  /// thread; it must not wait.
  courier(courier_options options, std::function<void(const arrival&)> told);
  /// Turns that are under way end with an error. Afterwards nothing is written here any more.
  ~courier();
  courier(const courier&) = delete;
  courier& operator=(const courier&) = delete;

  /// Each range from, or to, the same place of the file of its number here.
  void bring(std::uint64_t number, const std::vector<byte_range>& ranges);
  void fetch(std::uint64_t number, const std::vector<byte_range>& ranges);
  /// That fetch, where it is under way, ends with `interrupted`, and from then on nothing more of
  /// it is written here.
  void give_up(std::uint64_t number);

private:
  struct gate; // how many requests are open
  struct tally;
  bulk_client::done counted(const std::shared_ptr<tally>& in, std::uint32_t file);

  courier_options x_options;
  std::function<void(const arrival&)> x_told;
  std::shared_ptr<gate> x_gate;
  std::unique_ptr<bulk_client> x_there, x_back;
};

} // namespace viva::actors::node
