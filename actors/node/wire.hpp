#pragma once

// Wire: frames between nodes, on connections for bulk bytes and for liveness. A head of 72 bytes,
// then its body, numbers in the order of little-endian machines:
//
//    0 u32 magic "VIVB"   4 u16 version       6 u16 kind
//    8 u64 incarnation   16 u64 epoch        24 u64 job          job_key
//   32 u64 number        40 u64 offset       48 u32 file         52 u32 bytes
//   56 u64 checksum      of the body, xxh3; 0 without one
//   64 u64 check         of the 64 bytes before, xxh3
//
//   kind      says                                                 body
//   hello     I want this job's server; nothing else comes first   -
//   welcome   it is here                                           -
//   put       write these bytes of file at offset                  bytes, up to 1 MiB
//   done      they are where they belong                           -
//   get       send me bytes of file at offset, up to 1 MiB         -
//   data      here they are                                        bytes
//   refused   no; the connection lives, but after a hello          errc and text, up to 4 KiB
//   beat      I live, and of yours the last I heard is `offset`    -
//
// `number` counts the frames of a connection from 1, hello's. An answer has its question's. What is
// lost, doubled or out of order shows there, and what was cut anywhere shows in the check: a length
// is believed only where the check is right, and then only up to what its kind may have.

#include "actors/node/bulk.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace viva::actors::node {

inline constexpr std::uint16_t wire_version = 2;
inline constexpr std::size_t head_bytes = 72;
inline constexpr std::size_t body_bytes_max = 1u << 20;
inline constexpr std::size_t refusal_bytes_max = 4096;

enum class frame_kind : std::uint16_t {
  hello = 1,
  welcome,
  put,
  done,
  get,
  data,
  refused,
  beat,
};

struct frame_head {
  frame_kind kind = frame_kind::hello;
  job_key key;
  std::uint64_t number = 0, offset = 0;
  std::uint32_t file = 0, bytes = 0;
  std::uint64_t checksum = 0;

  /// What follows on the connection. A get asks for bytes and brings none.
  std::size_t body_bytes() const noexcept {
    return kind == frame_kind::get ? 0 : bytes;
  }
  friend bool operator==(const frame_head&, const frame_head&) = default;
};

using raw_head = std::array<std::byte, head_bytes>;

raw_head encode(const frame_head& head);
/// Fails where the bytes are no head, are one of another version, or say what no head may.
expected<frame_head> decode_head(std::span<const std::byte, head_bytes> raw);

std::uint64_t checksum_of(std::span<const std::byte> body);

/// An error as the body of a frame; long texts are cut.
std::string encode_refusal(const error& why);
/// Fails where it is none.
std::optional<error> decode_refusal(std::span<const std::byte> body);

} // namespace viva::actors::node
