#include "actors/node/certificates.hpp"

#include "actors/disk.hpp"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::actors::node {
namespace {

namespace fs = std::filesystem;

template <auto Free>
struct freed_by {
  template <class T>
  void operator()(T* what) const {
    Free(what);
  }
};
using key_ptr = std::unique_ptr<EVP_PKEY, freed_by<&EVP_PKEY_free>>;
using certificate_ptr = std::unique_ptr<X509, freed_by<&X509_free>>;
using bio_ptr = std::unique_ptr<BIO, freed_by<&BIO_free_all>>;

struct identity {
  key_ptr key;
  certificate_ptr certificate;
};

constexpr long clock_skew_seconds = 3600; // a member whose clock is late may join at once

tl::unexpected<error> failed(const std::string& doing) {
  const auto code = ::ERR_get_error();
  char text[256] = "no reason given";
  if (code != 0)
    ::ERR_error_string_n(code, text, sizeof text);
  ::ERR_clear_error();
  return fail(errc::fault, "OpenSSL cannot " + doing + ": " + text);
}

bool extend(X509* what, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, what, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, freed_by<&X509_EXTENSION_free>> made(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value));
  return made && X509_add_ext(what, made.get(), -1) == 1;
}

bool number(X509* what) {
  const std::unique_ptr<BIGNUM, freed_by<&BN_free>> serial(BN_new());
  return serial && BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1
         && BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(what)) != nullptr;
}

bool describe(X509* what, const std::string& name, int days, EVP_PKEY* key) {
  auto* subject = X509_get_subject_name(what);
  const auto* text = reinterpret_cast<const unsigned char*>(name.c_str());
  return X509_set_version(what, 2) == 1 && number(what)
         && X509_gmtime_adj(X509_getm_notBefore(what), -clock_skew_seconds) != nullptr
         && X509_time_adj_ex(X509_getm_notAfter(what), days, 0, nullptr) != nullptr
         && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, text, -1, -1, 0) == 1
         && X509_set_pubkey(what, key) == 1;
}

/// Signs itself where `by` is null.
expected<identity> make_identity(const std::string& name, int days, const identity* by) {
  identity made{key_ptr(EVP_EC_gen("P-256")), certificate_ptr(X509_new())};
  if (!made.key || !made.certificate)
    return failed("make a key");
  auto* what = made.certificate.get();
  auto* issuer = by == nullptr ? what : by->certificate.get();
  using row = std::pair<int, const char*>;
  const std::vector<row> authority{{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                   {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                   {NID_subject_key_identifier, "hash"}};
  const std::vector<row> member{{NID_basic_constraints, "critical,CA:FALSE"},
                                {NID_key_usage, "critical,digitalSignature"},
                                {NID_ext_key_usage, "serverAuth,clientAuth"},
                                {NID_subject_key_identifier, "hash"},
                                {NID_authority_key_identifier, "keyid"}};
  bool good = describe(what, name, days, made.key.get())
              && X509_set_issuer_name(what, X509_get_subject_name(issuer)) == 1;
  for (const auto& [kind, value] : by == nullptr ? authority : member)
    good = good && extend(what, issuer, kind, value);
  auto* signer = by == nullptr ? made.key.get() : by->key.get();
  if (!good || X509_sign(what, signer, EVP_sha256()) == 0)
    return failed("make the certificate of " + name);
  return made;
}

std::string text_in(BIO* memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory, &bytes);
  return {bytes, static_cast<std::size_t>(std::max(size, 0L))};
}

expected<std::string> pem_of(X509* certificate) {
  const bio_ptr memory(BIO_new(BIO_s_mem()));
  if (!memory || PEM_write_bio_X509(memory.get(), certificate) != 1)
    return failed("write a certificate");
  return text_in(memory.get());
}

expected<std::string> pem_of(EVP_PKEY* key) {
  const bio_ptr memory(BIO_new(BIO_s_mem()));
  if (!memory
      || PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return failed("write a key");
  return text_in(memory.get());
}

/// A file that was not there.
expected<void> write_new(const fs::path& file, const expected<std::string>& text, mode_t mode) {
  if (!text)
    return tl::make_unexpected(text.error());
  const descriptor fd{
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
  if (!fd && errno == EEXIST)
    return fail(errc::output_exists, file.string() + ": is there already and is not replaced; "
                                                     "choose another folder or name");
  if (!fd || ::write(fd.get(), text->data(), text->size()) != static_cast<ssize_t>(text->size())
      || ::fsync(fd.get()) != 0)
    return tl::make_unexpected(system_error("write the file", file, true));
  return {};
}

expected<identity> read_authority(const fs::path& out) {
  const auto read = [](const fs::path& file) {
    return bio_ptr(BIO_new_file(file.c_str(), "r"));
  };
  identity found;
  if (const auto file = read(out / "ca.pem"))
    found.certificate.reset(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr));
  if (const auto file = read(out / "ca.key"))
    found.key.reset(PEM_read_bio_PrivateKey(file.get(), nullptr, nullptr, nullptr));
  ::ERR_clear_error();
  if (!found.certificate || !found.key
      || X509_check_private_key(found.certificate.get(), found.key.get()) != 1)
    return fail(errc::output_exists, (out / "ca.pem").string()
                                       + ": an authority is there, but ca.key beside it is missing "
                                         "or is another's; bring it, or choose a new folder");
  return found;
}

/// The one that is there, or a new one.
expected<identity> authority_in(const fs::path& out) {
  std::error_code problem;
  fs::create_directories(out, problem);
  if (problem)
    return fail(errc::cannot_write, out.string() + ": cannot make the folder: "
                                      + problem.message() + "; choose another place");
  if (fs::exists(out / "ca.pem", problem) || fs::exists(out / "ca.key", problem))
    return read_authority(out);
  auto made = make_identity("viva cluster authority", authority_days, nullptr);
  if (!made)
    return made;
  if (const auto key = write_new(out / "ca.key", pem_of(made->key.get()), 0600); !key)
    return tl::make_unexpected(key.error());
  if (const auto text = write_new(out / "ca.pem", pem_of(made->certificate.get()), 0644); !text)
    return tl::make_unexpected(text.error());
  return made;
}

expected<void> fill(const fs::path& folder, const identity& authority, const identity& member) {
  return write_new(folder / "node.key", pem_of(member.key.get()), 0600)
      .and_then([&] {
        return write_new(folder / "node.pem", pem_of(member.certificate.get()), 0644);
      })
      .and_then([&] {
        return write_new(folder / "ca.pem", pem_of(authority.certificate.get()), 0644);
      });
}

expected<void> make_member(const fs::path& out, const std::string& name, int days,
                           const identity& authority) {
  const auto folder = out / name;
  const auto member = make_identity(name, days, &authority);
  if (!member)
    return tl::make_unexpected(member.error());
  if (::mkdir(folder.c_str(), 0700) != 0) {
    if (errno == EEXIST)
      return fail(errc::output_exists, folder.string() + ": is there already and is not replaced; "
                                                         "choose another name");
    return tl::make_unexpected(system_error("make the folder", folder, true));
  }
  auto filled = fill(folder, authority, *member);
  if (!filled) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  return filled;
}

expected<void> check(const certificate_options& how) {
  if (how.names.empty())
    return fail(errc::bad_option, "certificates: no name of a member is given");
  for (const auto& name : how.names) {
    const bool good = !name.empty() && name.size() <= 64 && name[0] != '.' && name != "ca.pem"
                      && name != "ca.key" && std::ranges::all_of(name, [](char c) {
                           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                                  || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
                         });
    if (!good)
      return fail(errc::bad_option, "certificates: '" + name.substr(0, 100)
                                      + "' is no name of a member: 1 to 64 letters, digits, '.', "
                                        "'-' and '_', no '.' first");
  }
  if (how.days < 1 || how.days > authority_days)
    return fail(errc::bad_option, "certificates: they hold for 1 to "
                                    + std::to_string(authority_days) + " days");
  return {};
}

} // namespace

expected<void> make_certificates(const fs::path& out, const certificate_options& how) {
  if (const auto good = check(how); !good)
    return good;
  const auto authority = authority_in(out);
  if (!authority)
    return tl::make_unexpected(authority.error());
  for (const auto& name : how.names)
    if (const auto made = make_member(out, name, how.days, *authority); !made)
      return made;
  return {};
}

} // namespace viva::actors::node
