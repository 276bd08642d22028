#include "actors/output_claim.hpp"

#include "actors/workplace.hpp"
#include "formats/shown.hpp"

#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::actors {
namespace {

namespace fs = std::filesystem;
using formats::shown;

/// Of what the name leads to; none where it leads nowhere.
std::optional<file_identity> identity_of(const fs::path& name) {
  struct stat info {};
  if (::stat(name.c_str(), &info) != 0)
    return std::nullopt;
  return file_identity{info.st_dev, info.st_ino};
}

/// Every file of a source, as the job will open it.
std::vector<fs::path> files_of(const formats::checkpoint& source) {
  std::vector<fs::path> all;
  for (const auto& file : source.files)
    all.push_back(file.path);
  for (const auto& other : source.others)
    all.push_back(source.root / other);
  return all;
}

/// True where `inner` is `outer` or lies below it, links resolved.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  std::error_code why;
  const auto relative =
    fs::weakly_canonical(inner, why).lexically_relative(fs::weakly_canonical(outer, why));
  return !relative.empty() && *relative.begin() != "..";
}

expected<void> check_apart(const formats::checkpoint& source, const fs::path& output) {
  const auto files = files_of(source);
  std::set<file_identity> identities;
  for (const auto& file : files)
    if (const auto found = identity_of(file))
      identities.insert(*found);
  for (const auto& name : {output, partial_path(output), journal_path(output)}) {
    const auto found = identity_of(name);
    if (found && identities.contains(*found))
      return fail(errc::output_is_source, shown(name) + ": is a file of the source; choose another "
                                                        "output");
    for (const auto& file : files)
      if (lies_in(file, name))
        return fail(errc::output_is_source, shown(name) + ": is or holds the source's "
                                              + shown(file) + "; choose another output");
  }
  if (source.folder && lies_in(output, source.root))
    return fail(errc::output_is_source,
                shown(output) + ": lies inside the source folder; choose another output");
  return {};
}

/// What --overwrite may replace: a file, or a folder that directly holds a checkpoint's weights.
expected<void> check_replaceable(const fs::path& output) {
  std::error_code why;
  const auto type = fs::status(output, why).type();
  if (type == fs::file_type::regular || type == fs::file_type::not_found) // a link to nothing
    return {};
  if (type != fs::file_type::directory)
    return fail(errc::output_exists, shown(output)
                                       + ": is neither a file nor a folder; --overwrite replaces "
                                         "only checkpoints. Choose another output");
  bool checkpoint = true;
  for (fs::directory_iterator entry(output, why), end; !why && entry != end; entry.increment(why)) {
    checkpoint = entry->path().extension() == ".safetensors";
    if (checkpoint)
      break;
  }
  if (why) {
    errno = why.value();
    return tl::unexpected(system_error("look into", output, true));
  }
  if (!checkpoint)
    return fail(errc::output_exists, shown(output)
                                       + ": is a folder that holds no checkpoint; --overwrite "
                                         "replaces only checkpoints. Choose another output");
  return {};
}

/// Opens and locks OUT.journal; again where its last owner removed it meanwhile.
expected<descriptor> lock_journal(const fs::path& name) {
  for (;;) {
    descriptor lock{::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)};
    struct stat opened {};
    if (lock.get() < 0 || ::fstat(lock.get(), &opened) != 0)
      return tl::unexpected(system_error("open", name, true));
    if (!S_ISREG(opened.st_mode))
      return fail(errc::output_exists, shown(name) + ": is no file; move it away");
    struct flock whole {};
    whole.l_type = F_WRLCK; // of an open file description, so that onlookers can ask without taking
    if (::fcntl(lock.get(), F_OFD_SETLK, &whole) != 0) {
      if (errno == EAGAIN || errno == EACCES)
        return fail(errc::output_exists,
                    shown(name) + ": another viva works on this output; wait for it, or choose "
                                  "another output");
      return tl::unexpected(system_error("lock", name, true));
    }
    if (identity_of(name) == file_identity{opened.st_dev, opened.st_ino})
      return lock;
  }
}

tl::unexpected<error> is_there(const fs::path& output) {
  return fail(errc::output_exists,
              shown(output) + ": is there already; choose another output or say --overwrite");
}

} // namespace

bool is_named(disk& on, const fs::path& output, const journal_content& journal) {
  return journal.naming
         && on.identity(output) == file_identity{journal.naming->device, journal.naming->inode};
}

expected<void> check_output(const formats::checkpoint& source, const fs::path& output,
                            bool overwrite) {
  if (output.empty() || output.filename().empty())
    return fail(errc::bad_option, shown(output) + " is no name for an output");
  if (auto apart = check_apart(source, output); !apart)
    return apart;
  std::error_code why;
  const auto status = fs::symlink_status(output, why);
  if (status.type() == fs::file_type::none) {
    errno = why.value();
    return tl::unexpected(system_error("look at", output, true));
  }
  if (!fs::exists(status))
    return {};
  if (overwrite)
    return check_replaceable(output);
  if (fs::is_regular_file(journal_path(output), why))
    if (const auto journal = read_journal(journal_path(output));
        journal && is_named(real_disk(), output, *journal))
      return {};
  return is_there(output);
}

expected<output_claim> output_claim::take(const fs::path& output) {
  const auto name = journal_path(output);
  auto lock = lock_journal(name);
  if (!lock)
    return tl::unexpected(lock.error());
  if (!is_journal(name))
    return fail(errc::output_exists, shown(name) + ": is no journal of viva; move it away");
  return output_claim(output, std::move(*lock));
}

output_claim::~output_claim() {
  struct stat info {};
  if (x_lock.get() >= 0 && ::fstat(x_lock.get(), &info) == 0 && info.st_size == 0
      && info.st_nlink > 0)
    ::unlink(journal_path(x_output).c_str());
}

expected<earlier_run> find_earlier(disk& on, const fs::path& output,
                                   const fingerprint_map& fingerprint, bool overwrite) {
  const auto partial = partial_path(output);
  const bool grown = on.identity(partial) != file_identity{};
  const bool there = on.identity(output) != file_identity{};
  if (on.identity(journal_path(output)) == file_identity{} && !grown)
    return there && !overwrite ? is_there(output) : expected<earlier_run>{};
  auto journal = read_journal(on, journal_path(output));
  if (!journal && !overwrite)
    return tl::unexpected(journal.error());
  const bool named = journal && is_named(on, output, *journal);
  if (there && !named && !overwrite)
    return is_there(output);
  if (journal && journal->fingerprint.empty()) { // new, or torn before anything was durable
    if (grown) // the opening is durable before a partial output is made
      return fail(errc::output_exists,
                  shown(partial) + ": is left over and has no journal, so nothing in it can be "
                                   "trusted; remove it or choose another output");
    return earlier_run{};
  }
  const auto differs = journal ? difference(journal->fingerprint, fingerprint) : "unreadable";
  if (!differs.empty() && !overwrite)
    return fail(errc::fingerprint_mismatch,
                shown(journal_path(output)) + ": belongs to another job (" + differs
                  + "); repeat that job's command to resume it, choose another output, or say "
                    "--overwrite to start anew");
  if (!differs.empty() || (!grown && !named)) {
    on.remove_all(partial);
    return earlier_run{};
  }
  return earlier_run{std::move(journal->done), std::move(journal->strikes),
                     std::move(journal->quarantined), {},
                     named ? journal->naming : std::nullopt, journal->end};
}

void output_claim::discard() const {
  real_disk().remove_all(partial_path(x_output));
  real_disk().remove_all(journal_path(x_output));
}

} // namespace viva::actors
