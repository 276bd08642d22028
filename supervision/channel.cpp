#include "supervision/channel.hpp"

#include <bit>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/uio.h>

namespace viva::supervision {
namespace {

constexpr char magic[4] = {'V', 'I', 'V', 'A'};
// Two of the largest frames; the system doubles it for what it keeps beside the bytes.
constexpr int socket_bytes = 2 * (frame_header_bytes + frame_payload_max);
static_assert(std::endian::native == std::endian::little, "both ends are one machine's");

template <class T>
T number_at(std::string_view bytes, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// Every descriptor that came along, so that none stays open. The room for one descriptor takes two
/// where a control message is padded to 8 bytes.
std::vector<descriptor> attached_to(msghdr& message) {
  std::vector<descriptor> all;
  for (auto* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
      continue;
    const auto count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      all.emplace_back(fd);
    }
  }
  return all;
}

arrival nonsense(std::string why) {
  return {arrival::kind::nonsense, {}, std::move(why)};
}

} // namespace

std::array<char, frame_header_bytes> frame_header(std::uint16_t kind, std::uint32_t sequence,
                                                  std::size_t payload_bytes) noexcept {
  std::array<char, frame_header_bytes> bytes{};
  const auto length = static_cast<std::uint32_t>(payload_bytes);
  std::memcpy(bytes.data(), magic, sizeof magic);
  std::memcpy(bytes.data() + 4, &kind, sizeof kind);
  std::memcpy(bytes.data() + 8, &sequence, sizeof sequence);
  std::memcpy(bytes.data() + 12, &length, sizeof length);
  return bytes;
}

const char* refuse_frame(std::string_view message, std::uint32_t sequence_due) noexcept {
  if (message.size() < frame_header_bytes)
    return "shorter than a frame's header";
  if (std::memcmp(message.data(), magic, sizeof magic) != 0)
    return "not a frame";
  if (number_at<std::uint16_t>(message, 4) == 0 || number_at<std::uint16_t>(message, 6) != 0)
    return "a frame of no kind";
  if (number_at<std::uint32_t>(message, 12) != message.size() - frame_header_bytes)
    return "a frame of another length than it says";
  if (number_at<std::uint32_t>(message, 8) != sequence_due)
    return "a frame out of turn";
  return nullptr;
}

std::string too_long_text(std::size_t payload_bytes) {
  return "a frame of " + std::to_string(payload_bytes)
         + " bytes is longer than the socket takes: net.core.wmem_max is too small, or this is a "
           "defect of ours";
}

std::optional<std::pair<channel, channel>> channel::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return std::nullopt;
  for (const int end : ends) // the system's default may be smaller than a frame
    ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &socket_bytes, sizeof socket_bytes);
  return std::pair{channel{descriptor{ends[0]}}, channel{descriptor{ends[1]}}};
}

channel::sent channel::send(const frame& what) {
  auto header = frame_header(what.kind, x_sent, what.payload.size());
  iovec parts[2] = {{header.data(), header.size()},
                    {const_cast<char*>(what.payload.data()), what.payload.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (what.attached) {
    const int fd = what.attached->get();
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    auto* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(x_socket.get(), &message, MSG_NOSIGNAL) >= 0) {
      ++x_sent;
      return sent::yes;
    }
    if (errno == EAGAIN || errno == ENOBUFS)
      return sent::later;
    if (errno == EMSGSIZE)
      return sent::too_long;
    if (errno != EINTR)
      return sent::gone;
  }
}

arrival channel::receive() {
  x_buffer.resize(frame_header_bytes + frame_payload_max);
  iovec whole{x_buffer.data(), x_buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &whole;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t bytes = -1;
  do
    bytes = ::recvmsg(x_socket.get(), &message, MSG_CMSG_CLOEXEC);
  while (bytes < 0 && errno == EINTR);
  if (bytes < 0)
    return {errno == EAGAIN ? arrival::kind::nothing : arrival::kind::gone, {}, {}};
  if (bytes == 0)
    return {arrival::kind::gone, {}, {}};
  auto attached = attached_to(message);
  if ((message.msg_flags & MSG_TRUNC) != 0)
    return nonsense("a frame longer than " + std::to_string(frame_payload_max) + " bytes");
  if ((message.msg_flags & MSG_CTRUNC) != 0 || attached.size() > 1)
    return nonsense("a frame with more than one descriptor");
  const std::string_view text{x_buffer.data(), static_cast<std::size_t>(bytes)};
  if (const char* why = refuse_frame(text, x_received))
    return nonsense(why);
  ++x_received;
  return {arrival::kind::frame,
          {number_at<std::uint16_t>(text, 4), std::string(text.substr(frame_header_bytes)),
           attached.empty() ? nullptr
                            : std::make_shared<const descriptor>(std::move(attached.front()))},
          {}};
}

} // namespace viva::supervision
