#include "kernels/magnitude_survey.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/magnitude_survey.cpp"
#include <hwy/foreach_target.h>

#include "kernels/fold-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// The bits of the largest magnitude.
std::uint32_t survey_magnitude_bits(const matrix& in) {
  return with_source(in.type, [&](auto from) {
    return static_cast<std::uint32_t>(fold_all<magnitude_fold>(from, in.data, in.values()));
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(survey_magnitude_bits);

status survey_magnitude(const recipe&, const matrix& in, survey& found) noexcept {
  const auto bits = HWY_DYNAMIC_DISPATCH(survey_magnitude_bits)(in);
  if (bits >= infinity_bits)
    return refuse_not_finite(in);
  found.max = std::max(found.max, float_of(bits));
  return {};
}

} // namespace viva::kernels
#endif
