#include "kernels/attention.hpp"

#include "kernels/convert.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <hwy/foreach_target.h>

#include "kernels/attention_few-inl.hpp"
#include "kernels/attention_groups-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Rows of a kv head that one piece takes.
std::size_t attention_piece_rows() {
  return piece_groups * group_rows();
}

std::size_t attention_bytes(std::size_t head_size) {
  return std::max(groups_bytes(head_size), few_bytes(head_size));
}

status attention_piece(const attention::piece& of, std::byte* memory) {
  return of.rows <= few_rows_max() ? attend_few(of, memory) : attend_groups(of, memory);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels::attention {

HWY_EXPORT(attention_piece_rows);
HWY_EXPORT(attention_bytes);
HWY_EXPORT(attention_piece);

namespace {

/// Rows that share a kv head in one sequence.
std::size_t rows_of_kv_head(const shape& of) noexcept {
  return of.heads / of.kv_heads * of.queries;
}

std::size_t pieces_of_kv_head(const shape& of) noexcept {
  const std::size_t each = HWY_DYNAMIC_DISPATCH(attention_piece_rows)();
  return (rows_of_kv_head(of) + each - 1) / each;
}

} // namespace

status check(const shape& of) noexcept {
  constexpr std::size_t keys_max = std::size_t{1} << 30; // positions are 32-bit lanes
  const bool heads = of.kv_heads != 0 && of.heads % of.kv_heads == 0;
  const bool size = of.head_size % 8 == 0 && of.head_size >= 32 && of.head_size <= 256;
  const bool keys = of.keys <= keys_max && of.keys_after <= keys_max;
  return {heads && size && keys ? errc::ok : errc::bad_shape};
}

std::size_t pieces(const shape& of) noexcept {
  return of.queries == 0 ? 0 : of.batch * of.kv_heads * pieces_of_kv_head(of);
}

piece_rows rows_of_piece(const shape& of, std::size_t i) noexcept {
  const std::size_t most = HWY_DYNAMIC_DISPATCH(attention_piece_rows)();
  const std::size_t each = pieces_of_kv_head(of), all = rows_of_kv_head(of);
  const std::size_t kv = i / each, row = i % each * most;
  return {kv / of.kv_heads, kv % of.kv_heads, kv * all + row, std::min(most, all - row)};
}

status attend(const shape& of, const inputs& in, const outputs& to, std::size_t first,
              std::size_t count, scratch& memory) noexcept {
  if (const auto fine = check(of); !fine)
    return fine;
  for (const auto* side : {&in.k, &in.v})
    if (side->encoded != nullptr)
      if (const auto fine = check(of, *side->encoded); !fine)
        return fine;
  constexpr std::size_t alignment = 64;
  const std::size_t bytes = HWY_DYNAMIC_DISPATCH(attention_bytes)(of.head_size);
  auto* at = memory.of<std::byte>(bytes + alignment);
  if (at == nullptr)
    return {errc::over_budget};
  at += (alignment - reinterpret_cast<std::uintptr_t>(at) % alignment) % alignment;
  for (std::size_t i = first; i < first + count; ++i) {
    const auto mine = rows_of_piece(of, i);
    const auto row = mine.first % rows_of_kv_head(of);
    const auto done = HWY_DYNAMIC_DISPATCH(attention_piece)(
        {&of, &in, &to, mine.sequence, mine.kv_head, row, mine.rows}, at);
    if (!done)
      return done;
  }
  return {};
}

} // namespace viva::kernels::attention
#endif
