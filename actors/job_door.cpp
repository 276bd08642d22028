#include "actors/job_door.hpp"

#include "actors/job_view.hpp"

#include "supervision/census.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <optional>
#include <poll.h>
#include <set>
#include <string_view>
#include <thread>
#include <unistd.h>

namespace viva {
namespace {

using actors::descriptor;

constexpr std::string_view name_prefix = "viva-job-";
constexpr int names_max = 100;               // doors of one process, or of equal pids
constexpr timeval patience{2, 0};            // with a peer that neither reads nor writes
constexpr std::size_t document_bytes_max = 256u << 20;

struct address {
  sockaddr_un name{};
  socklen_t bytes = 0;

  explicit address(std::string_view text) {
    name.sun_family = AF_UNIX; // sun_path[0] stays 0: the abstract namespace
    text = text.substr(0, sizeof name.sun_path - 1);
    std::ranges::copy(text, name.sun_path + 1);
    bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  }
  const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&name);
  }
};

descriptor new_socket() {
  return descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
}

/// Our own user, or root on either side: nobody else is told, and nobody else is believed.
bool trusted(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0
         && (peer.uid == ::geteuid() || peer.uid == 0 || ::geteuid() == 0);
}

std::optional<std::string> read_all(int socket) {
  std::string text;
  for (char buffer[16384]; text.size() < document_bytes_max;) {
    const auto n = ::recv(socket, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return std::nullopt;
    if (n == 0)
      return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return std::nullopt;
}

/// Every door of this network namespace, whosever it is.
std::set<std::string> doors() {
  std::set<std::string> names;
  std::ifstream table("/proc/net/unix");
  for (std::string line; std::getline(table, line);)
    if (const auto at = line.find(" @" + std::string(name_prefix)); at != std::string::npos)
      names.insert(line.substr(at + 2));
  return names;
}

} // namespace

std::vector<std::string> look_into_jobs() {
  std::vector<std::string> documents;
  for (const auto& name : doors()) {
    const auto socket = new_socket();
    const address where{name};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(socket.get(), where.get(), where.bytes) != 0 || !trusted(socket.get()))
      continue; // it ended meanwhile, or is another user's
    if (auto text = read_all(socket.get()); text && !text->empty())
      documents.push_back(std::move(*text));
  }
  return documents;
}

namespace actors {

std::string describe(const tree& lives, const job_site& site, const std::filesystem::path& output,
                     double seconds) {
  const auto people = lives.census();
  std::error_code ignored;
  const nlohmann::ordered_json document{
    {"pid", ::getpid()},
    {"job", site.work.job},
    {"output",
     site.work.writes() ? std::filesystem::weakly_canonical(output, ignored).string() : ""},
    {"shards_done", site.shards_done.load()},
    {"shards_total", site.work.shards.size()},
    {"bytes_done", site.bytes_done.load()},
    {"bytes_total", site.work.source_bytes},
    {"seconds", seconds},
    {"tree", nlohmann::ordered_json::parse(supervision::to_json(people))},
    {"text", supervision::to_text(people)}};
  return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

job_door::job_door(std::function<std::string()> describe)
    : x_describe(std::move(describe)), x_listens(new_socket()),
      x_ends(::eventfd(0, EFD_CLOEXEC)) {
  bool bound = false;
  for (int n = 0; n < names_max && !bound; ++n) {
    const address where{std::string(name_prefix) + std::to_string(::getpid()) + "-"
                        + std::to_string(n)};
    bound = ::bind(x_listens.get(), where.get(), where.bytes) == 0;
    if (!bound && errno != EADDRINUSE)
      break;
  }
  if (!bound || x_ends.get() < 0 || ::listen(x_listens.get(), 8) != 0) {
    spdlog::warn("no door for viva tree: {}", std::strerror(errno));
    return;
  }
  x_thread = std::thread{[this] { serve(); }};
}

job_door::~job_door() {
  if (!x_thread.joinable())
    return;
  const std::uint64_t one = 1;
  while (::write(x_ends.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  x_thread.join();
}

void job_door::serve() {
  for (;;) {
    pollfd either[2] = {{x_listens.get(), POLLIN, 0}, {x_ends.get(), POLLIN, 0}};
    if (::poll(either, 2, -1) < 0 && errno != EINTR)
      return;
    if (either[1].revents != 0)
      return;
    if (either[0].revents == 0)
      continue;
    const descriptor client{::accept4(x_listens.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (client.get() < 0) // no descriptor is left, say: the client waits on, and is asked later
      std::this_thread::sleep_for(std::chrono::milliseconds{50});
    else if (trusted(client.get()))
      answer(client.get());
  }
}

void job_door::answer(int client) {
  ::setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const auto document = x_describe();
  for (std::string_view rest = document; !rest.empty();) {
    const auto n = ::send(client, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return; // it went away or would not read
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
}

} // namespace actors
} // namespace viva
