#include "actors/node/wire.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#ifdef VIVA_XXHASH_DISPATCH
#include <xxh_x86dispatch.h> // XXH3_64bits becomes the fastest that this processor has
#else
#include <xxhash.h>
#endif

namespace viva::actors::node {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are little-endian");

constexpr std::uint32_t magic = 0x42564956; // "VIVB"
constexpr std::size_t checked_bytes = 64;
constexpr std::uint64_t offset_max = std::numeric_limits<std::int64_t>::max(); // of off_t

class head_writer {
public:
  template <class T>
  void put(T value) {
    std::memcpy(raw.data() + x_at, &value, sizeof value);
    x_at += sizeof value;
  }
  raw_head raw{};

private:
  std::size_t x_at = 0;
};

template <class T>
T number_at(std::span<const std::byte, head_bytes> raw, std::size_t at) {
  T value;
  std::memcpy(&value, raw.data() + at, sizeof value);
  return value;
}

/// The largest `bytes` of a kind; nothing of an unknown one.
std::optional<std::size_t> bytes_max(frame_kind kind) {
  switch (kind) {
    case frame_kind::hello:
    case frame_kind::welcome:
    case frame_kind::done:
    case frame_kind::beat:
      return 0;
    case frame_kind::put:
    case frame_kind::get:
    case frame_kind::data:
      return body_bytes_max;
    case frame_kind::refused:
      return refusal_bytes_max;
  }
  return std::nullopt;
}

} // namespace

raw_head encode(const frame_head& head) {
  head_writer out;
  out.put(magic);
  out.put(wire_version);
  out.put(static_cast<std::uint16_t>(head.kind));
  for (const std::uint64_t value : {head.key.incarnation, head.key.epoch, head.key.job,
                                    head.number, head.offset})
    out.put(value);
  out.put(head.file);
  out.put(head.bytes);
  out.put(head.checksum);
  out.put(static_cast<std::uint64_t>(XXH3_64bits(out.raw.data(), checked_bytes)));
  return out.raw;
}

expected<frame_head> decode_head(std::span<const std::byte, head_bytes> raw) {
  const auto refuse = [](std::string why) { return fail(errc::malformed, std::move(why)); };
  if (number_at<std::uint32_t>(raw, 0) != magic)
    return refuse("what came is no frame of viva");
  if (number_at<std::uint64_t>(raw, checked_bytes) != XXH3_64bits(raw.data(), checked_bytes))
    return refuse("a frame came damaged");
  const auto version = number_at<std::uint16_t>(raw, 4);
  if (version != wire_version)
    return refuse("it speaks version " + std::to_string(version) + " of the frames, not "
                  + std::to_string(wire_version) + "; run the same viva on all machines");
  frame_head head;
  head.kind = static_cast<frame_kind>(number_at<std::uint16_t>(raw, 6));
  head.key = {number_at<std::uint64_t>(raw, 8), number_at<std::uint64_t>(raw, 16),
              number_at<std::uint64_t>(raw, 24)};
  head.number = number_at<std::uint64_t>(raw, 32);
  head.offset = number_at<std::uint64_t>(raw, 40);
  head.file = number_at<std::uint32_t>(raw, 48);
  head.bytes = number_at<std::uint32_t>(raw, 52);
  head.checksum = number_at<std::uint64_t>(raw, 56);
  const auto most = bytes_max(head.kind);
  if (!most)
    return refuse("a frame is of no kind that there is");
  if (head.bytes > *most || (*most != 0 && head.bytes == 0))
    return refuse("a frame says " + std::to_string(head.bytes) + " bytes, where 1 to "
                  + std::to_string(*most) + " may be");
  if (head.offset > offset_max - head.bytes)
    return refuse("a frame says a place that no file has");
  return head;
}

std::uint64_t checksum_of(std::span<const std::byte> body) {
  // At its first call on much the library finds its fastest code and writes that into tables, with
  // no lock; so one thread makes that call.
  static constexpr std::byte much[4096]{};
  [[maybe_unused]] static const auto ready = XXH3_64bits(much, sizeof much);
  return XXH3_64bits(body.data(), body.size());
}

std::string encode_refusal(const error& why) {
  std::string body(1, static_cast<char>(why.code));
  return body += why.text.substr(0, refusal_bytes_max - 1);
}

std::optional<error> decode_refusal(std::span<const std::byte> body) {
  if (body.empty() || body.size() > refusal_bytes_max)
    return std::nullopt;
  const auto code = std::to_integer<std::uint8_t>(body[0]);
  if (code == 0 || code > static_cast<std::uint8_t>(errc::interrupted))
    return std::nullopt;
  error why{static_cast<errc>(code), {}};
  for (const auto each : body.subspan(1)) { // it goes to a person's terminal
    const auto c = std::to_integer<char>(each);
    why.text += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return why;
}

} // namespace viva::actors::node
