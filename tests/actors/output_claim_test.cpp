// What a job may have as its output, and what it must leave alone.

#include "tests/actors/jobs.hpp"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>

using namespace viva;
using namespace viva::tests;

TEST_CASE("quantize: a partial output without a journal is never trusted and never removed") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  fs::create_directory(actors::partial_path(spec.output));
  for (const bool overwrite : {false, true}) {
    spec.overwrite = overwrite;
    CHECK(run_quantize(spec).error().code == errc::output_exists);
    CHECK(fs::exists(actors::partial_path(spec.output)));
  }
  fs::remove(actors::partial_path(spec.output));
  must(run_quantize(spec));
}

TEST_CASE("quantize: a file called OUT.journal that is no journal is refused and stays") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  std::ofstream(actors::journal_path(spec.output)) << "dear diary";
  for (const bool overwrite : {false, true}) {
    spec.overwrite = overwrite;
    CHECK(run_quantize(spec).error().code == errc::output_exists);
    CHECK(text_of(actors::journal_path(spec.output)) == "dear diary");
  }
}

TEST_CASE("quantize: an output that another job works on is refused") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  {
    const auto claim = actors::output_claim::take(spec.output);
    REQUIRE(claim);
    for (const bool overwrite : {false, true}) {
      spec.overwrite = overwrite;
      const auto refused = run_quantize(spec);
      REQUIRE_FALSE(refused);
      CHECK(refused.error().code == errc::output_exists);
      CHECK(refused.error().text.find("another viva") != std::string::npos);
    }
  }
  CHECK_FALSE(fs::exists(actors::journal_path(spec.output))); // the claim left nothing behind
  must(run_quantize(spec));
}

TEST_CASE("quantize: a stranger's file in the partial output is not published") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  stop_early(spec);
  const auto partial = actors::partial_path(spec.output);
  std::ofstream(partial / "stray.bin") << "stray";
  fs::create_directories(partial / "old/older");
  std::ofstream(partial / "old/older/stray.bin") << "stray";
  spec.limits.shard_bytes_max = 64 << 10;
  const auto report = must(run_quantize(spec));
  CHECK(report.shards_resumed >= 5);
  CHECK_FALSE(fs::exists(spec.output / "stray.bin"));
  CHECK_FALSE(fs::exists(spec.output / "old"));
}

TEST_CASE("quantize: another source of the same size, header and date does not resume a job") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "out", "int8");
  stop_early(spec);
  const auto file = source / "model.safetensors";
  const auto date = fs::last_write_time(file);
  fs::copy_file(file, folder / "copy");
  plant(folder / "copy", fs::file_size(file) - 2, "zz");
  fs::rename(folder / "copy", file);
  fs::last_write_time(file, date);
  spec.limits.shard_bytes_max = 64 << 10;
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::fingerprint_mismatch);
}

TEST_CASE("quantize: the source cannot be the output, by no path") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto truth = bytes_of(source);
  const auto refused = [&](const fs::path& from, const fs::path& output) {
    CAPTURE(from, output);
    auto spec = spec_for(from, output, "int8");
    spec.overwrite = true;
    const auto report = run_quantize(spec);
    REQUIRE_FALSE(report);
    CHECK(report.error().code == errc::output_is_source);
  };
  fs::create_directory_symlink(source, folder / "link");
  for (const auto& output :
       {source, folder / "link", source / "inside", folder / "source/../source",
        folder / "source/../../" / folder.path().filename()})
    refused(source, output);
  // The names beside OUT, too.
  for (const std::string ending : {".partial", ".journal"}) {
    const auto file = folder / ("m" + ending);
    fs::copy_file(source / "model.safetensors", file);
    refused(file, folder / "m");
    CHECK(text_of(file) == text_of(source / "model.safetensors"));
    fs::remove(file);
  }
  // A folder of links into the output, and a hard link.
  fs::create_directory(folder / "links");
  for (const auto& entry : fs::directory_iterator(source))
    fs::create_symlink(entry.path(), folder / "links" / entry.path().filename());
  refused(folder / "links", source);
  fs::create_hard_link(source / "model.safetensors", folder / "hard.safetensors");
  refused(source, folder / "hard.safetensors");
  CHECK(bytes_of(source) == truth);
}

TEST_CASE("quantize: --overwrite replaces a checkpoint and nothing else") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "out", "int8");
  must(run_quantize(spec));
  const auto again = run_quantize(spec);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == errc::output_exists);
  spec.overwrite = true;
  must(run_quantize(spec));
  fs::create_directory(folder / "precious");
  std::ofstream(folder / "precious/thesis.txt") << "years of work";
  spec.output = folder / "precious";
  CHECK_FALSE(run_quantize(spec));
  fs::create_directory(folder / "precious/model"); // a checkpoint further down makes it none
  fs::copy_file(source / "model.safetensors", folder / "precious/model/model.safetensors");
  CHECK(run_quantize(spec).error().code == errc::output_exists);
  CHECK(text_of(folder / "precious/thesis.txt") == "years of work");
  REQUIRE(::mkfifo((folder / "queue").c_str(), 0600) == 0);
  spec.output = folder / "queue";
  CHECK(run_quantize(spec).error().code == errc::output_exists);
  CHECK(fs::is_fifo(spec.output));
}

TEST_CASE("disk: every error of the system comes with something to do about it") {
  for (const int reason : {ENOSPC, EDQUOT, EACCES, EPERM, EROFS, EIO, EMFILE, ENFILE, ENOMEM, EFBIG,
                           ENAMETOOLONG, EBUSY, EINVAL, ENOENT, ENOTDIR, ELOOP})
    for (const bool writing : {false, true}) {
      errno = reason;
      const auto said = actors::system_error("sync", "out.journal", writing);
      CAPTURE(said.text);
      CHECK(said.text.find("out.journal: cannot sync: " + std::string(std::strerror(reason)) + "; ")
            == 0);
      CHECK(said.text.size() > said.text.find("; ") + 15);
    }
  errno = EIO;
  CHECK(actors::system_error("sync", "f", true).text.find("system's log") != std::string::npos);
  errno = EROFS;
  CHECK(actors::system_error("open", "f", true).text.find("read-only") != std::string::npos);
}
