#pragma once

// Channel: small frames between a guardian and its ward, over a Unix socket that keeps messages
// whole (SOCK_SEQPACKET). A frame may carry one descriptor; bulk data never goes this way.
//
//   0   4   magic "VIVA"         8   4   sequence: 0, 1, 2, … each way
//   4   2   kind, not 0         12   4   payload bytes = length of the message - 16
//   6   2   0                   16       payload
//
// The reader believes nothing: whatever is not exactly this is nonsense, with a reason, and the
// one who reads decides (a guardian kills the speaker).

#include "supervision/descriptor.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace viva::supervision {

inline constexpr std::size_t frame_header_bytes = 16;
/// Every socket of ours is made large enough for one such frame.
inline constexpr std::size_t frame_payload_max = 128 << 10;

/// Kinds below `first_free` are the guardian's and the ward's own.
namespace frame_kind {
inline constexpr std::uint16_t ready = 1, goodbye = 2, leave = 3, first_free = 16;
} // namespace frame_kind

struct frame {
  std::uint16_t kind = 0;
  std::string payload{};
  std::shared_ptr<const descriptor> attached{};
};

std::array<char, frame_header_bytes> frame_header(std::uint16_t kind, std::uint32_t sequence,
                                                  std::size_t payload_bytes) noexcept;

/// Null where the bytes are the frame that is due; else what is wrong with them.
const char* refuse_frame(std::string_view message, std::uint32_t sequence_due) noexcept;

struct arrival {
  enum class kind : std::uint8_t { frame, nothing, gone, nonsense } what = kind::nothing;
  frame got{};          ///< Of a frame.
  std::string why{};    ///< Of nonsense.
};

/// What to say of `sent::too_long`.
std::string too_long_text(std::size_t payload_bytes);

/// One end. Blocking or not as the socket is.
class channel {
public:
  channel() = default;
  explicit channel(descriptor socket) : x_socket(std::move(socket)) {
  }
  /// Two ends, both closed on exec; nothing and errno where the system has no more.
  static std::optional<std::pair<channel, channel>> make_pair();

  enum class sent : std::uint8_t { yes, later, gone, too_long };
  /// `later`: the socket is full and does not block. `too_long`: it never takes this frame, as
  /// where net.core.wmem_max forbids sockets of that size.
  sent send(const frame& what);
  arrival receive();

  int native() const noexcept {
    return x_socket.get();
  }
  int release() noexcept {
    return x_socket.release();
  }

private:
  descriptor x_socket;
  std::uint32_t x_sent = 0, x_received = 0;
  std::vector<char> x_buffer; // of the largest frame, made when first needed
};

} // namespace viva::supervision
