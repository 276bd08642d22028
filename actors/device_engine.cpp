#include "actors/device_engine.hpp"

#include "kernels/cuda_path.hpp"
#include "supervision/death.hpp"

#include <algorithm>

namespace viva::actors {

using namespace kernels;
using supervision::exit_words::device_lost;
using supervision::exit_words::device_sticky;

device_step next_step(int error) noexcept {
  switch (answer_of(error)) {
    case device_answer::sticky:
      return device_step::end_sticky;
    case device_answer::lost:
    case device_answer::absent:
      return device_step::end_lost;
    case device_answer::done:
    case device_answer::out_of_memory:
    case device_answer::refused:
      break;
  }
  return device_step::keep;
}

device_step next_step(status said, int error) noexcept {
  if (said)
    return device_step::keep;
  const auto after = said.code == errc::fault ? next_step(error) : device_step::keep;
  return after == device_step::keep ? device_step::processor : after;
}

namespace {

[[noreturn]] void end(device_step why, int error) {
  throw device_ended(why == device_step::end_sticky ? device_sticky : device_lost,
                     words_of(error));
}

/// CUDA's, by kernels/.
class cuda_at_work final : public device_at_work {
public:
  explicit cuda_at_work(std::unique_ptr<device_worker> worker) : x_worker(std::move(worker)) {
  }
  status encode(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                std::span<std::byte* const> out, error_sums* sums) override {
    return x_worker->encode(with, in, numbers, out, sums);
  }
  status decode(const recipe& with, std::size_t rows, std::size_t cols,
                const tensor_numbers& numbers, std::span<const std::byte* const> in,
                float* out) override {
    return x_worker->decode(with, rows, cols, numbers, in, out);
  }
  status survey(const recipe& with, const matrix& in, kernels::survey& found) override {
    return x_worker->survey(with, in, found);
  }
  int error() const override {
    return x_worker->error();
  }
  int finish() override {
    return x_worker->finish();
  }

private:
  std::unique_ptr<device_worker> x_worker;
};

} // namespace

std::unique_ptr<device_at_work> open_cuda_device(int number) {
  auto opened = device_worker::open(number);
  if (!opened)
    throw device_ended(opened.error().code == errc::over_budget
                         ? supervision::exit_words::temporary
                         : device_lost,
                       opened.error().text);
  return std::make_unique<cuda_at_work>(std::move(*opened));
}

/// True where the device did it.
template <class Call>
bool device_engine::by_device(const Call& call) {
  if (!x_used)
    return false;
  const status said = x_no_memory ? status{errc::over_budget} : call();
  const int error = said.code == errc::fault ? x_device->error() : 0;
  const auto next = next_step(said, error);
  if (next == device_step::end_sticky || next == device_step::end_lost)
    end(next, error);
  return next == device_step::keep;
}

status device_engine::encode(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                             std::span<std::byte* const> out, error_sums& sums) {
  if (by_device([&] { return x_device->encode(with, in, numbers, out, &sums); }))
    return {};
  return engine::encode(with, in, numbers, out, sums);
}

status device_engine::decode(const recipe& with, std::size_t rows, std::size_t cols,
                             const tensor_numbers& numbers, std::span<const std::byte* const> in,
                             float* out) {
  if (by_device([&] { return x_device->decode(with, rows, cols, numbers, in, out); }))
    return {};
  return engine::decode(with, rows, cols, numbers, in, out);
}

status device_engine::survey(const recipe& with, const matrix& in, kernels::survey& found) {
  if (by_device([&] { return x_device->survey(with, in, found); }))
    return {};
  return engine::survey(with, in, found);
}

std::uint64_t device_engine::run_values(std::uint64_t cached) const noexcept {
  return x_used ? std::max(cached, device_run_values) : cached;
}

status device_engine::prove_by(const recipe& with, const matrix& in,
                               const tensor_numbers& numbers, std::span<std::byte* const> out) {
  status said;
  if (by_device([&] { return said = x_device->encode(with, in, numbers, out, nullptr); }))
    return {};
  return said.code == errc::unsupported ? with.row->encode_simd(with, in, numbers, out) : said;
}

void device_engine::prove() {
  const int error = x_device->finish();
  if (const auto next = next_step(error); next != device_step::keep)
    end(next, error);
}

} // namespace viva::actors
