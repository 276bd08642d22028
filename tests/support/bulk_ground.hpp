#pragma once

// Two ends of the bulk path in one program: files in memory, a server, clients.

#include "actors/node/bulk.hpp"
#include "tests/support/catch.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <future>
#include <random>
#include <string>

namespace viva::tests {

namespace node = actors::node;

/// A file in memory that holds these bytes.
inline node::shared_file file_of(const std::string& bytes) {
  supervision::descriptor made{::memfd_create("viva-test", MFD_CLOEXEC)};
  REQUIRE(made);
  REQUIRE(::write(made.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  return std::make_shared<const supervision::descriptor>(std::move(made));
}

inline std::string bytes_of(const node::shared_file& file) {
  std::string bytes(static_cast<std::size_t>(::lseek(file->get(), 0, SEEK_END)), '\0');
  REQUIRE(::pread(file->get(), bytes.data(), bytes.size(), 0)
          == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

inline std::string noise(std::size_t bytes, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string made(bytes, '\0');
  for (auto& each : made)
    each = static_cast<char>(random());
  return made;
}

inline constexpr node::job_key a_job{0x1111, 0x2222, 0x3333};

struct bulk_ground {
  explicit bulk_ground(node::bulk_options how = {}, node::network_options threads_how = {})
      : threads(std::make_shared<node::network>(threads_how)) {
    auto made = node::bulk_server::open(threads, {"127.0.0.1", 0}, how);
    if (!made)
      FAIL(made.error().text);
    server = std::move(*made);
  }

  node::address where() const {
    return {"127.0.0.1", server->port()};
  }
  node::bulk_client client(node::bulk_options how = {}) const {
    return {threads, where(), a_job, how};
  }
  /// Counts move a moment after a peer sees the effect.
  template <class Claim>
  bool soon(const Claim& claim) const {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!claim(server->counts())) {
      if (std::chrono::steady_clock::now() > until)
        return false;
      ::usleep(1000);
    }
    return true;
  }

  std::shared_ptr<node::network> threads;
  std::unique_ptr<node::bulk_server> server;
};

/// Where one request's answer arrives. Tests wait 20 s and no longer.
class reply {
public:
  node::bulk_client::done taker() {
    return [said = x_said](expected<void> how) { said->set_value(std::move(how)); };
  }
  expected<void> wait() {
    if (x_heard.wait_for(std::chrono::seconds(20)) != std::future_status::ready)
      return fail(errc::fault, "nobody answered");
    return x_heard.get();
  }

private:
  std::shared_ptr<std::promise<expected<void>>> x_said =
      std::make_shared<std::promise<expected<void>>>();
  std::future<expected<void>> x_heard = x_said->get_future();
};

inline expected<void> put(node::bulk_client& by, node::shared_file from, std::uint64_t at,
                          const node::range& to) {
  reply answer;
  by.put(std::move(from), at, to, answer.taker());
  return answer.wait();
}

inline expected<void> get(node::bulk_client& by, const node::range& from, node::shared_file to,
                          std::uint64_t at) {
  reply answer;
  by.get(from, std::move(to), at, answer.taker());
  return answer.wait();
}

} // namespace viva::tests
