#include "actors/node/middleman.hpp"

#include "supervision/reason.hpp"

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <caf/openssl/all.hpp>

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace viva::actors::node {
namespace {

// A handshake that takes longer than one beat is taken for a lost connection; a connection is lost
// without ten of them. Links notice death sooner: by signs of life (liveness.hpp).
constexpr caf::timespan beat = std::chrono::seconds{1}, lost_after = std::chrono::seconds{10};

bool encrypts(const caf::actor_system& system) {
  return !system.config().openssl_certificate.empty();
}

/// 0, or why not.
int reach(const addrinfo& where, std::chrono::milliseconds patience) {
  const supervision::descriptor fd{
    ::socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd)
    return errno;
  if (::connect(fd.get(), where.ai_addr, where.ai_addrlen) == 0)
    return 0;
  if (errno != EINPROGRESS)
    return errno;
  pollfd wait{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&wait, 1, static_cast<int>(patience.count())) <= 0)
    return ETIMEDOUT;
  int problem = 0;
  socklen_t bytes = sizeof problem;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &problem, &bytes);
  return problem;
}

/// A copy of a file in memory, and a name that leads there; without memory the file's own name.
std::string keep(const std::filesystem::path& file, kept_files& in) {
  std::ifstream from(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(from), {}};
  supervision::descriptor copy{::memfd_create("viva-certificate", MFD_CLOEXEC)};
  if (!from || bytes.empty() || !copy
      || ::write(copy.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return file.native();
  in.push_back(std::move(copy));
  return "/proc/self/fd/" + std::to_string(in.back().get());
}

} // namespace

expected<std::optional<tls_files>> security_of(const std::vector<address>& all,
                                               const std::filesystem::path& folder,
                                               bool insecure) {
  const auto encrypts = needs_tls(all, !folder.empty(), insecure);
  if (!encrypts)
    return tl::unexpected(encrypts.error());
  if (!*encrypts)
    return std::nullopt;
  auto files = tls_files_in(folder);
  if (!files)
    return tl::unexpected(files.error());
  if (auto good = load_tls(*files); !good) // CAF would say no more than that nobody gets in
    return tl::unexpected(good.error());
  return std::optional(std::move(*files));
}

kept_files load_middleman(caf::actor_system_config& config,
                          const std::optional<tls_files>& security) {
  config.set("middleman.heartbeat-interval", beat);
  config.set("middleman.connection-timeout", lost_after);
  config.set("middleman.app-identifiers", std::vector<std::string>{"viva-nodes-1"});
  config.load<caf::io::middleman>();
  kept_files kept;
  if (!security)
    return kept;
  config.openssl_certificate = keep(security->certificate, kept);
  config.openssl_key = keep(security->key, kept);
  config.openssl_cafile = keep(security->authority, kept);
  config.load<caf::openssl::manager>();
  return kept;
}

expected<std::uint16_t> publish(const caf::actor& whom, const address& where) {
  auto& system = whom.home_system();
  const auto* host = where.host.c_str();
  const auto bound = encrypts(system)
                       ? caf::openssl::publish(whom, where.port, host, true)
                       : system.middleman().publish(whom, where.port, host, true);
  if (!bound)
    return fail(errc::bad_option, where.text() + ": cannot be listened on ("
                                    + supervision::to_text(bound.error())
                                    + "); is it an address of this machine, and is its port free?");
  return *bound;
}

caf::io::middleman_actor connector(caf::actor_system& system) {
  return encrypts(system) ? system.openssl_manager().actor_handle()
                          : system.middleman().actor_handle();
}

expected<void> knock(const address& where, std::chrono::milliseconds patience) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const auto why = ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints,
                                 &found);
  if (why != 0)
    return fail(errc::fault, where.text() + ": " + ::gai_strerror(why));
  int problem = ETIMEDOUT;
  for (const auto* each = found; each != nullptr && problem != 0; each = each->ai_next)
    problem = reach(*each, patience);
  ::freeaddrinfo(found);
  if (problem != 0)
    return fail(errc::fault, where.text() + ": " + std::strerror(problem));
  return {};
}

} // namespace viva::actors::node
