#include "actors/assignment.hpp"

#include "actors/plan_digest.hpp"
#include "actors/plan_size.hpp"
#include "formats/checkpoint.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

namespace viva::actors {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// Only counts. The reader calls itself for each level, so a letter of tens of thousands of them
/// would take all of a thread's stack.
struct shallow final : nlohmann::json_sax<json> {
  static constexpr int levels_max = 16; // an assignment has five
  int levels = 0;
  bool null() override {
    return true;
  }
  bool boolean(bool) override {
    return true;
  }
  bool number_integer(number_integer_t) override {
    return true;
  }
  bool number_unsigned(number_unsigned_t) override {
    return true;
  }
  bool number_float(number_float_t, const string_t&) override {
    return true;
  }
  bool string(string_t&) override {
    return true;
  }
  bool binary(binary_t&) override {
    return true;
  }
  bool key(string_t&) override {
    return true;
  }
  bool start_object(std::size_t) override {
    return ++levels <= levels_max;
  }
  bool end_object() override {
    --levels;
    return true;
  }
  bool start_array(std::size_t) override {
    return ++levels <= levels_max;
  }
  bool end_array() override {
    --levels;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const json::exception&) override {
    return false;
  }
};

json write(const job_limits& limits) {
  return {{"memory", limits.memory_bytes_max},
          {"shard", limits.shard_bytes_max},
          {"devices", limits.devices}};
}

job_limits limits_from(const json& in) {
  job_limits limits;
  limits.memory_bytes_max = in.at("memory");
  limits.shard_bytes_max = in.at("shard");
  limits.devices = in.at("devices").get<std::vector<int>>();
  limits.lanes_are = isolation::process; // or nobody would have sent it
  return limits;
}

json write(const quantize_spec& spec) {
  return {{"job", spec.job},
          {"source", spec.source.native()},
          {"output", spec.output.native()},
          {"method", spec.method},
          {"layout", spec.layout},
          {"stats", spec.stats.native()},
          {"include", spec.include},
          {"exclude", spec.exclude},
          {"rules", spec.rules},
          {"on_nan", spec.on_nan == nan_policy::keep},
          {"limits", write(spec.limits)}};
}

quantize_spec quantize_from(const json& in) {
  quantize_spec spec;
  spec.job = in.at("job");
  spec.source = in.at("source").get<std::string>();
  spec.output = in.at("output").get<std::string>();
  spec.method = in.at("method");
  spec.layout = in.at("layout");
  spec.stats = in.at("stats").get<std::string>();
  spec.include = in.at("include").get<std::vector<std::string>>();
  spec.exclude = in.at("exclude").get<std::vector<std::string>>();
  spec.rules = in.at("rules").get<std::vector<std::pair<std::string, std::string>>>();
  spec.on_nan = in.at("on_nan") ? nan_policy::keep : nan_policy::fail;
  spec.limits = limits_from(in.at("limits"));
  return spec;
}

struct writer {
  json operator()(const quantize_spec& spec) const {
    return {{"kind", "quantize"}, {"spec", write(spec)}};
  }
  json operator()(const scan_spec& spec) const {
    return {{"kind", "scan"}, {"spec", write(spec.of)}};
  }
  json operator()(const dequantize_spec& spec) const {
    return {{"kind", "dequantize"},
            {"spec",
             {{"source", spec.source.native()},
              {"output", spec.output.native()},
              {"dtype", spec.dtype},
              {"limits", write(spec.limits)}}}};
  }
  json operator()(const compare_spec& spec) const {
    return {{"kind", "compare"},
            {"spec",
             {{"a", spec.a.native()}, {"b", spec.b.native()}, {"limits", write(spec.limits)}}}};
  }
};

assignment assignment_from(const json& in) {
  assignment made;
  const std::string kind = in.at("kind");
  const auto& spec = in.at("spec");
  if (kind == "quantize") {
    made.what = quantize_from(spec);
  } else if (kind == "scan") {
    made.what = scan_spec{quantize_from(spec)};
  } else if (kind == "dequantize") {
    dequantize_spec order;
    order.source = spec.at("source").get<std::string>();
    order.output = spec.at("output").get<std::string>();
    order.dtype = spec.at("dtype");
    order.limits = limits_from(spec.at("limits"));
    made.what = std::move(order);
  } else {
    compare_spec order;
    order.a = spec.at("a").get<std::string>();
    order.b = spec.at("b").get<std::string>();
    order.limits = limits_from(spec.at("limits"));
    made.what = std::move(order);
  }
  made.kept = in.at("kept").get<std::map<std::string, std::string>>();
  made.lanes = in.at("lanes");
  made.fingerprint = in.at("fingerprint").get<std::map<std::string, std::string>>();
  made.digest = in.at("digest");
  made.copies = in.at("copies");
  made.shards = in.at("shards");
  made.partial = {in.at("partial").at(0), in.at("partial").at(1)};
  return made;
}

struct planner {
  const std::map<std::string, std::string>& kept;
  const job_limits& limits;
  std::uint32_t lanes;

  /// Nothing is planned that would not fit: who sent the job may have far more memory.
  template <class Make>
  expected<plan> of(const fs::path& source, Make make) const {
    auto c = formats::open_checkpoint(source);
    if (!c)
      return tl::unexpected(c.error());
    if (auto fits = fit_plan(*c, limits, lanes); !fits)
      return tl::unexpected(fits.error());
    return make(*c);
  }
  expected<plan> operator()(const quantize_spec& spec) const {
    return of(spec.source, [&](const auto& c) { return plan_quantize(c, spec, kept); });
  }
  expected<plan> operator()(const scan_spec& spec) const {
    return of(spec.of.source, [&](const auto& c) { return plan_scan(c, spec.of); });
  }
  expected<plan> operator()(const dequantize_spec& spec) const {
    return of(spec.source, [&](const auto& c) { return plan_dequantize(c, spec); });
  }
  expected<plan> operator()(const compare_spec& spec) const {
    return of(spec.a, [&](const auto& a) {
      return of(spec.b, [&](const auto& b) { return plan_compare(a, b, spec); });
    });
  }
};

/// Calls `with` for each path of a job, and what it is to the job.
template <class Spec, class With>
void each_role(Spec& spec, With with) {
  if constexpr (requires { spec.of; }) {
    with(spec.of.source, "source");
    with(spec.of.stats, "stats");
  } else if constexpr (requires { spec.a; }) {
    with(spec.a, "a");
    with(spec.b, "b");
  } else {
    with(spec.source, "source");
    with(spec.output, "output");
    if constexpr (requires { spec.stats; })
      with(spec.stats, "stats");
  }
}

template <class Spec, class With>
void each_path(Spec& spec, With with) {
  each_role(spec, [&](auto& path, const char*) { with(path); });
}

/// The last part of a name, whatever slashes end it, as a name of its own.
fs::path last_of(const fs::path& name) {
  const auto last = name.has_filename() ? name.filename() : name.parent_path().filename();
  return last.empty() || last == "." || last == ".." ? "it" : last;
}

bool same_plan(const plan& work, const assignment& a) {
  if (work.shards.size() != a.shards)
    return false;
  return a.copies ? plan_digest(work) == a.digest : work.fingerprint == a.fingerprint;
}

const job_limits& limits_of(const assignment& a) {
  return std::visit(
    [](const auto& spec) -> const job_limits& {
      if constexpr (requires { spec.of; })
        return spec.of.limits;
      else
        return spec.limits;
    },
    a.what);
}

} // namespace

std::string encode(assignment a, const plan& as_planned,
                   file_identity partial) {
  json out = std::visit(writer{}, a.what);
  out["kept"] = a.kept;
  out["lanes"] = a.lanes;
  out["fingerprint"] = as_planned.fingerprint;
  out["digest"] = plan_digest(as_planned);
  out["copies"] = a.copies;
  out["shards"] = as_planned.shards.size();
  out["partial"] = {partial.device, partial.inode};
  std::string bytes;
  json::to_msgpack(out, bytes); // strings stay the bytes they are; text would have to be UTF-8
  return bytes;
}

expected<assignment> decode_assignment(std::string_view bytes) {
  try {
    shallow depth;
    if (!json::sax_parse(bytes, &depth, json::input_format_t::msgpack))
      return fail(errc::malformed, "a lane was given what is no assignment");
    return assignment_from(json::from_msgpack(bytes));
  } catch (const json::exception& why) {
    return fail(errc::fault, std::string("a lane was given no assignment: ") + why.what());
  }
}

expected<plan> plan_again(const assignment& a) {
  auto work = std::visit(planner{a.kept, limits_of(a), a.lanes}, a.what);
  if (!work)
    return work;
  if (auto fits = fit_memory(*work, limits_of(a), a.lanes); !fits)
    return tl::unexpected(fits.error());
  if (!same_plan(*work, a))
    return fail(errc::malformed, "the source changed while the job ran, so its output may mix two "
                                 "states of it; run the job again");
  return work;
}

std::vector<fs::path> paths_of(const assignment& a) {
  std::vector<fs::path> all;
  std::visit([&](const auto& spec) {
    each_path(spec, [&](const fs::path& each) {
      if (!each.empty())
        all.push_back(each);
    });
  }, a.what);
  return all;
}

void make_absolute(assignment& a) {
  std::visit([](auto& spec) {
    each_path(spec, [](fs::path& each) {
      if (!each.empty())
        each = fs::absolute(each);
    });
  }, a.what);
}

fs::path name_of_copy(const assignment& a, const fs::path& file) {
  fs::path name;
  std::ptrdiff_t deepest = -1; // statistics may lie in the folder of the source
  std::visit([&](const auto& spec) {
    each_role(spec, [&](const fs::path& each, const char* role) {
      const auto within = file.lexically_relative(each);
      if (each.empty() || within.empty() || *within.begin() == "..")
        return;
      const auto depth = std::distance(each.begin(), each.end());
      if (depth > std::exchange(deepest, std::max(depth, deepest)))
        name = within == "." ? role / last_of(each) : role / last_of(each) / within;
    });
  }, a.what);
  return name;
}

void use_copies(assignment& a, const fs::path& folder) {
  const auto was = a;
  a.copies = true;
  std::visit([&](auto& spec) {
    each_path(spec, [&](fs::path& each) {
      if (!each.empty())
        each = folder / name_of_copy(was, each);
    });
  }, a.what);
}

void resize(assignment& a, std::uint32_t lanes, const job_limits& limits) {
  a.lanes = lanes;
  std::visit([&](auto& spec) {
    auto& own = [&spec]() -> job_limits& {
      if constexpr (requires { spec.of; })
        return spec.of.limits;
      else
        return spec.limits;
    }();
    own.memory_bytes_max = limits.memory_bytes_max;
    own.devices = limits.devices;
  }, a.what);
}

std::filesystem::path output_of(const assignment& a) {
  return std::visit(
    [](const auto& spec) -> fs::path {
      if constexpr (requires { spec.output; })
        return spec.output;
      else
        return {};
    },
    a.what);
}

} // namespace viva::actors
