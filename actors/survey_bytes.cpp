#include "actors/survey_bytes.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace viva::actors {

std::string encode_survey(const kernels::survey& s) {
  std::string out;
  const auto put = [&out](std::uint64_t v) {
    out.append(reinterpret_cast<const char*>(&v), sizeof v);
  };
  put(s.count);
  put(std::bit_cast<std::uint32_t>(s.max));
  for (const auto limb : s.sum.canonical())
    put(static_cast<std::uint64_t>(limb));
  return out;
}

bool decode_survey(std::string_view bytes, kernels::survey& out) {
  constexpr auto limbs_count = static_cast<std::size_t>(kernels::exact_sum::limb_count);
  std::array<std::uint64_t, 2 + limbs_count> words{};
  if (bytes.size() != sizeof words)
    return false;
  std::memcpy(words.data(), bytes.data(), sizeof words);
  out.count = words[0];
  out.max = std::bit_cast<float>(static_cast<std::uint32_t>(words[1]));
  std::array<std::int64_t, limbs_count> limbs{};
  for (std::size_t i = 0; i < limbs_count; ++i)
    limbs[i] = static_cast<std::int64_t>(words[2 + i]);
  out.sum = kernels::exact_sum::from_canonical(limbs);
  return true;
}

} // namespace viva::actors
