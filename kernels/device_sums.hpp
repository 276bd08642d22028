#pragma once

// Measuring and surveying on a device, from start to end (device_measure.hpp says how).

#include "kernels/device_survey.hpp"
#include "kernels/nf4_dq.hpp"

namespace viva::kernels {

/// Adds the errors of rows to `sums`, which is the device's, as x and y are.
template <class Device>
status measure_on(Device& on, const matrix& in, const float* y, device_sums* sums) {
  if (in.values() == 0)
    return {};
  const std::size_t pieces = in.rows * ((in.cols + measure_piece - 1) / measure_piece);
  auto* const made = on.template scratch<measured_piece>(pieces);
  if (made == nullptr)
    return {errc::over_budget};
  with_type(in.type, in.data, [&](auto values) {
    constexpr auto type = decltype(values)::type;
    on.teams(pieces, measure_lanes, measure_pieces<type>{values, y, in.cols, made, sums});
    const std::size_t rows = 32 * measure_rows_of<type>::rows_each;
    on.teams((in.rows + rows - 1) / rows, 32,
             measure_rows_of<type>{values, y, in.rows, in.cols, made, sums});
  });
  return {};
}

/// A sum from limbs that no carry has put into canonical form.
inline exact_sum exact_of(const unsigned long long* limbs) {
  std::array<std::int64_t, exact_sum::limb_count> all;
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<std::int64_t>(limbs[i]);
  exact_sum sum;
  sum.merge(exact_sum::from_canonical(all)); // merging carries
  return sum;
}

/// What a device summed, added to what the host has.
inline void add_sums(const device_sums& from, error_sums& to) {
  error_sums made;
  made.count = from.count;
  made.not_finite = from.not_finite;
  made.square_error = exact_of(from.limbs[0]);
  made.abs_error = exact_of(from.limbs[1]);
  made.square_source = exact_of(from.limbs[2]);
  made.square_decoded = exact_of(from.limbs[3]);
  made.product = exact_of(from.limbs[4]);
  made.max_error = float_of(from.max_bits);
  made.errors.counts.assign(from.buckets, from.buckets + magnitude_histogram::bucket_count);
  to.merge(made);
}

/// Values of one unit of a method's survey; nf4-dq's are its blocks.
inline std::size_t survey_unit(const recipe& with) noexcept {
  return with.row->survey_run == nf4_dq::survey_run ? with.block : 0;
}

/// Surveys rows into `found`, which is the device's.
template <class Device>
status survey_on(Device& on, const recipe& with, const matrix& in, device_survey* found) {
  constexpr std::size_t run = 16384; // where a method has no units
  if (in.values() == 0)
    return {};
  const std::size_t unit = survey_unit(with);
  const std::size_t each = unit == 0 ? run : unit;
  const std::size_t runs = (in.values() + each - 1) / each;
  float* maxima = nullptr;
  if (unit != 0 && (maxima = on.template scratch<float>(runs)) == nullptr)
    return {errc::over_budget};
  with_type(in.type, in.data, [&](auto values) {
    on.teams(runs, lanes_for(each),
             survey_runs<decltype(values)::type>{
                 values, {in.values(), each}, maxima, found, on.report()});
  });
  if (unit != 0) {
    const std::size_t per_team = 256 * sum_maxima::each;
    on.teams((runs + per_team - 1) / per_team, 256, sum_maxima{maxima, runs, found});
  }
  return {};
}

/// What a device found in `values` values, added to what the host has.
inline void add_survey(const recipe& with, std::size_t values, const device_survey& from,
                       survey& to) {
  const std::size_t unit = survey_unit(with);
  survey made;
  made.count = unit == 0 ? 0 : (values + unit - 1) / unit;
  made.sum = exact_of(from.limbs);
  made.max = float_of(from.max_bits);
  to.merge(made);
}

} // namespace viva::kernels
