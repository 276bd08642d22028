// Whole jobs on checkpoints made on the spot: real files, real actors, real faults.

#include "actors/plan_size.hpp"
#include "tests/actors/jobs.hpp"
#include "tests/support/sanitized.hpp"

#include <xxhash.h>

#include <thread>

using namespace viva;
using namespace viva::tests;

TEST_CASE("quantize: the bytes depend neither on lanes nor on the size of shards") {
  const temporary_folder folder;
  const auto source = synthesized(folder, 2);
  each_or_every_fourth(kernels::methods(), [&](const auto& method) {
    const auto name = words_of(method);
    CAPTURE(name);
    auto spec = spec_for(source, folder / (name + "-1"), name);
    spec.limits.lanes = 1;
    must(run_quantize(spec));
    const auto truth = bytes_of(spec.output);
    for (const auto& [lanes, shard_bytes] :
         {std::pair{2u, 100u << 10}, {7u, 3u << 20}, {3u, 20u << 10}}) {
      spec.output = folder / (name + "-" + std::to_string(lanes));
      spec.limits.lanes = lanes;
      spec.limits.shard_bytes_max = shard_bytes;
      const auto report = must(run_quantize(spec));
      CHECK(report.shards > 0);
      CHECK(bytes_of(spec.output) == truth);
      fs::remove_all(spec.output);
    }
    fs::remove_all(folder / (name + "-1"));
  });
}

TEST_CASE("quantize, dequantize, compare: the errors are those the report printed, bit for bit") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  each_or_every_fourth(kernels::methods(), [&](const auto& method) {
    const auto name = words_of(method);
    CAPTURE(name);
    const auto quantized = must(run_quantize(spec_for(source, folder / name, name)));
    dequantize_spec back;
    back.source = folder / name;
    back.output = folder / (name + "-back");
    back.limits.shard_bytes_max = 333'333;
    must(run_dequantize(back));
    compare_spec both;
    both.a = source;
    std::map<std::string, kernels::metrics> printed;
    for (const auto& t : quantized.tensors)
      if (t.errors)
        printed[t.name] = *t.errors;
    CHECK(printed.size() > 4);
    for (const auto& b : {back.output, back.source}) {
      both.b = b;
      std::size_t compared = 0;
      for (const auto& t : must(run_compare(both)).tensors)
        if (const auto p = printed.find(t.name); p != printed.end()) {
          REQUIRE(t.errors);
          CHECK(t.errors->mse == p->second.mse);
          CHECK(t.errors->p99 == p->second.p99);
          CHECK(t.errors->max_error == p->second.max_error);
          CHECK(t.errors->cosine == p->second.cosine);
          CHECK(t.errors->snr_db == p->second.snr_db);
          CHECK(t.errors->outliers == p->second.outliers);
          ++compared;
        }
      CHECK(compared == printed.size());
    }
  });
}

TEST_CASE(
    "quantize: lanes that throw are restarted, their tickets run again, the bytes are the same") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "truth", "nf4");
  must(run_quantize(spec));
  spec.output = folder / "faulty";
  spec.faults.throw_every = 5;
  spec.limits.attempts_max = 20;
  const auto report = must(run_quantize(spec));
  CHECK(report.restarts > 2);
  CHECK(report.retries >= report.restarts);
  CHECK(bytes_of(spec.output) == bytes_of(folder / "truth"));
}

TEST_CASE("quantize: a shard that kills every lane goes into quarantine, the others are done") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "truth", "int8");
  const auto shards = must(run_quantize(spec)).shards;
  spec.output = folder / "out";
  spec.faults.poison = 4;
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::job_failed);
  CHECK(refused.error().text.find("1 of " + std::to_string(shards) + " shards") == 0);
  INFO(refused.error().text);
  CHECK(refused.error().text.find("'lm_head.weight': bytes 786432 to ") != std::string::npos);
  CHECK(refused.error().text.find("4 lanes died on them") != std::string::npos);
  CHECK(refused.error().text.find("poison=4") != std::string::npos);
  CHECK_FALSE(fs::exists(spec.output));
  const auto content = actors::read_journal(actors::journal_path(spec.output));
  REQUIRE(content);
  CHECK(content->done.size() == shards - 1);
  CHECK(content->strikes.size() == 4);
  REQUIRE(content->quarantined.size() == 1);
  CHECK(content->quarantined[0].shard == 3);
  REQUIRE(content->quarantined[0].reasons.size() == 4);
  CHECK(content->quarantined[0].reasons[3].find("poison=4") != std::string::npos);
  const auto [weights, begin] = a_weight(spec.source, "lm_head.weight");
  const auto all = text_of(weights);
  CHECK(content->quarantined[0].source_checksum
        == XXH3_64bits(all.data() + begin + 786432, 880640 - 786432));
  SECTION("the same command does not try it again") {
    spec.faults = {};
    const auto again = run_quantize(spec);
    REQUIRE_FALSE(again);
    CHECK(again.error().text.find("4 lanes died on them") != std::string::npos);
  }
  SECTION("--retry-quarantined does, and the job ends as if nothing had been") {
    spec.faults = {};
    spec.retry_quarantined = true;
    const auto report = must(run_quantize(spec));
    CHECK(report.shards_resumed == shards - 1);
    CHECK(bytes_of(spec.output) == bytes_of(folder / "truth"));
  }
  SECTION("a shard that still kills is put there again, after as many lanes") {
    spec.retry_quarantined = true;
    CHECK_FALSE(run_quantize(spec));
    const auto later = actors::read_journal(actors::journal_path(spec.output));
    REQUIRE(later);
    CHECK(later->strikes.size() == 4);
    CHECK(later->quarantined.size() == 1);
  }
}

TEST_CASE("quantize: --strict ends the job at the first shard in quarantine") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  spec.limits.shard_bytes_max = 16 << 10;
  spec.limits.lanes = 1;
  spec.strict = true;
  spec.faults.poison = 1;
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::job_failed);
  const auto content = actors::read_journal(actors::journal_path(spec.output));
  REQUIRE(content);
  CHECK(content->quarantined.size() == 1);
}

TEST_CASE("quantize: where shard after shard kills, the machine is sick and the job ends") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  spec.limits.shard_bytes_max = 16 << 10;
  spec.limits.attempts_max = 1;
  spec.faults.throw_every = 1;
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::job_failed);
  CHECK(refused.error().text.find("; and ") != std::string::npos);
  const auto content = actors::read_journal(actors::journal_path(spec.output));
  REQUIRE(content);
  CHECK(content->done.empty());
  CHECK(content->quarantined.size() > 64);
}

TEST_CASE(
    "quantize: interrupted, it keeps what is durable; the same command resumes to the same bytes") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  for (const std::string method : {"nf4", "nf4-dq"}) {
    CAPTURE(method);
    auto spec = spec_for(source, folder / (method + "-truth"), method);
    spec.limits.shard_bytes_max = 64 << 10;
    const auto truth = must(run_quantize(spec));
    spec.output = folder / (method + "-out");
    spec.limits.lanes = 1;
    spec.faults.interrupt_after = 3;
    const auto stopped = run_quantize(spec);
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().code == errc::interrupted);
    CHECK_FALSE(fs::exists(spec.output));
    const auto content = actors::read_journal(actors::journal_path(spec.output));
    REQUIRE(content);
    CHECK(content->done.size() >= 3);
    CHECK(content->done.size() < truth.shards);
    spec.faults = {};
    const auto report = must(run_quantize(spec));
    CHECK(report.shards_resumed == content->done.size());
    CHECK(bytes_of(spec.output) == bytes_of(folder / (method + "-truth")));
    REQUIRE(report.tensors.size() == truth.tensors.size());
    for (std::size_t i = 0; i < truth.tensors.size(); ++i)
      if (truth.tensors[i].errors)
        CHECK(report.tensors[i].errors->mse == truth.tensors[i].errors->mse);
    CHECK_FALSE(fs::exists(actors::journal_path(spec.output)));
    CHECK_FALSE(fs::exists(actors::partial_path(spec.output)));
  }
}

TEST_CASE("quantize: a journal of another job is refused by naming the difference") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  stop_early(spec);
  spec.limits.shard_bytes_max = 64 << 10;
  spec.method = "int8";
  const auto report = run_quantize(spec);
  REQUIRE_FALSE(report);
  CHECK(report.error().code == errc::fingerprint_mismatch);
  CHECK(report.error().text.find("bitsandbytes") != std::string::npos);
  spec.overwrite = true;
  must(run_quantize(spec));
}

TEST_CASE("quantize: durable bytes that changed on disk are computed again") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "truth", "int8");
  must(run_quantize(spec));
  spec.output = folder / "out";
  stop_early(spec);
  const auto journal = actors::read_journal(actors::journal_path(spec.output));
  REQUIRE(journal);
  REQUIRE_FALSE(journal->done.empty());
  const auto partial = actors::partial_path(spec.output);
  for (const auto& entry : fs::directory_iterator(partial))
    if (entry.path().extension() == ".safetensors") // every data byte of the output spoiled
      plant(entry.path(), 64 << 10, std::string(fs::file_size(entry.path()) - (64 << 10), 'z'));
  spec.limits.shard_bytes_max = 64 << 10;
  must(run_quantize(spec));
  CHECK(bytes_of(spec.output) == bytes_of(folder / "truth"));
}

TEST_CASE("quantize: NaN ends the job at its position, or keeps the tensor as it is") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto [file, begin] = a_weight(source, q_proj);
  plant(file, begin + 2 * 5, std::string("\xc0\x7f", 2)); // bf16 NaN at [0, 5]
  for (const std::string method : {"int8", "nf4", "nf4-dq", "q8_0", "q4_0"}) {
    CAPTURE(method);
    auto spec = spec_for(source, folder / method, method);
    const auto refused = run_quantize(spec);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::not_finite);
    CHECK(refused.error().text.find("'" + std::string(q_proj) + "' has NaN or infinity at [0, 5]")
          != std::string::npos);
    CHECK_FALSE(fs::exists(spec.output));
    CHECK_FALSE(fs::exists(actors::partial_path(spec.output)));
    CHECK_FALSE(fs::exists(actors::journal_path(spec.output)));
    spec.on_nan = nan_policy::keep;
    const auto report = must(run_quantize(spec));
    const auto kept = std::ranges::find(report.tensors, q_proj, &tensor_report::name);
    REQUIRE(kept != report.tensors.end());
    CHECK(kept->method == "copy");
    CHECK(kept->note.find("[0, 5]") != std::string::npos);
    const auto fused = std::ranges::find(report.tensors, k_proj, &tensor_report::name);
    REQUIRE(fused != report.tensors.end());
    const bool for_engines = method != "q8_0" && method != "q4_0"; // they fuse it with q_proj
    CHECK((fused->method == "copy") == for_engines);
    CHECK((fused->note.find(q_proj) != std::string::npos) == for_engines);
  }
}

TEST_CASE("quantize: where every weight holds NaN and is kept, the output is a copy") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto [file, begin] = a_weight(source, o_proj);
  plant(file, begin, std::string("\xc0\x7f", 2));
  auto spec = spec_for(source, folder / "out", "nf4");
  spec.include = {std::string(o_proj)};
  CHECK(run_quantize(spec).error().code == errc::not_finite);
  spec.on_nan = nan_policy::keep;
  must(run_quantize(spec));
  CHECK(text_of(folder / "out" / file.filename()).size() == text_of(file).size());
  CHECK(formats::open_checkpoint(spec.output));
}

TEST_CASE("quantize: an interrupt that comes before the first lane ends the job as well") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  std::atomic<bool> interrupted{true};
  job_observer observer;
  observer.interrupted = &interrupted;
  const auto stopped = run_quantize(spec, observer);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == errc::interrupted);
  must(run_quantize(spec));
}

TEST_CASE("quantize: a budget that no lane can keep is refused before any work") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4-dq");
  spec.limits.memory_bytes_max = 4096;
  const auto report = run_quantize(spec);
  REQUIRE_FALSE(report);
  CHECK(report.error().code == errc::over_budget);
  CHECK_FALSE(fs::exists(actors::partial_path(spec.output)));
}

TEST_CASE("quantize: more tensors or shards than there is memory to plan are refused before that") {
  formats::checkpoint many;
  many.files.resize(1);
  auto& tensors = many.files.front().header.tensors;
  tensors.push_back({"w", "BF16", {1 << 20, 4096}, 0, 8ull << 30});
  job_limits limits;
  limits.memory_bytes_max = 48 << 20;
  CHECK(actors::fit_plan(many, limits, 2));
  limits.shard_bytes_max = 4096; // rows of 8 KiB stay whole: 1 Mi shards
  const auto shards = actors::fit_plan(many, limits, 2);
  REQUIRE_FALSE(shards);
  CHECK(shards.error().code == errc::over_budget);
  CHECK(shards.error().text.find("1048576 shards") != std::string::npos);
  CHECK(shards.error().text.find("--shard-bytes") != std::string::npos);
  limits.shard_bytes_max = 8 << 20;
  tensors.resize(4000, tensors.front());
  const auto refused = actors::fit_plan(many, limits, 2);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().text.find("4000 tensors") != std::string::npos);
}

TEST_CASE("quantize: a job of very many shards counts what it keeps of each") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  const auto c = formats::open_checkpoint(spec.source);
  REQUIRE(c);
  auto few = actors::plan_quantize(*c, spec, {});
  REQUIRE(few);
  auto many = *few;
  while (many.shards.size() < 120'000)
    many.shards.push_back(many.shards.front());
  spec.limits.memory_bytes_max = 64 << 20;
  CHECK(actors::fit_memory(*few, spec.limits, 2));
  CHECK_FALSE(actors::fit_memory(many, spec.limits, 2)); // 44 MiB more
}

TEST_CASE("quantize: a healthy job costs two messages a batch and two a commit") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  spec.limits.shard_bytes_max = 16 << 10;
  const auto report = must(run_quantize(spec));
  REQUIRE(report.shards > 100);
  const auto healthy = 2 * report.batches + 2 * (report.commits + 1); // and the publishing
  CHECK(report.messages <= healthy);
  CHECK(report.messages + report.copies >= healthy); // what is late here may be done elsewhere
  CHECK(report.batches < report.shards / 8 + report.copies); // 256 KiB travel together
  spec.limits.shard_bytes_max = 512 << 10;
  spec.overwrite = true;
  const auto whole = must(run_quantize(spec));
  CHECK(whole.batches <= whole.shards + whole.copies);
  CHECK(whole.batches > whole.shards / 4);
}

TEST_CASE("quantize: memory does not grow with the number of tensors or lanes beyond the budget") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  spec.limits.lanes = 64;
  spec.limits.memory_bytes_max = 64 << 20;
  must(run_quantize(spec));
  spec.limits.memory_bytes_max = 32 << 20; // 64 lanes need more for themselves
  spec.overwrite = true;
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::over_budget);
}

TEST_CASE("quantize: a single file gives a single file") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source / "model.safetensors", folder / "one.safetensors", "q8_0");
  must(run_quantize(spec));
  CHECK(fs::is_regular_file(spec.output));
  CHECK(formats::open_checkpoint(spec.output));
}

TEST_CASE("quantize: a dry run tells sizes and touches nothing") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "out", "nf4");
  spec.dry_run = true;
  const auto planned = must(run_quantize(spec));
  CHECK_FALSE(fs::exists(spec.output));
  CHECK_FALSE(fs::exists(actors::partial_path(spec.output)));
  spec.dry_run = false;
  must(run_quantize(spec));
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(spec.output))
    if (entry.path().extension() == ".safetensors")
      bytes += fs::file_size(entry.path());
  CHECK(planned.output_bytes == bytes);
}
