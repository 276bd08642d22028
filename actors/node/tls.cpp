#include "actors/node/tls.hpp"

#include "actors/disk.hpp"
#include "actors/node/tls_engine.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <sys/stat.h>

namespace viva::actors::node {
namespace {

namespace fs = std::filesystem;

tl::unexpected<error> refuse(const fs::path& file, const std::string& why) {
  ::ERR_clear_error();
  return fail(errc::bad_option, file.string() + ": " + why);
}

/// What is there and may be read; the key by nobody else.
expected<void> look_at(const fs::path& file, bool secret) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    auto problem = system_error("look at the file", file, false);
    problem.text += " (viva certs OUT makes ca.pem, node.pem and node.key)";
    return tl::make_unexpected(std::move(problem));
  }
  if (secret && (info.st_mode & S_IRWXO) != 0)
    return refuse(file, "everybody on this machine may use this key; chmod 600 it, and if others "
                        "may have seen it, make a new one with viva certs");
  return {};
}

/// Null where the store's authority signed the certificate and it is valid today.
const char* doubt(SSL_CTX* context) {
  const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> check(
      X509_STORE_CTX_new(), X509_STORE_CTX_free);
  if (!check
      || X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(context),
                             SSL_CTX_get0_certificate(context), nullptr)
           != 1)
    return "it cannot be checked";
  if (X509_verify_cert(check.get()) == 1)
    return nullptr;
  return X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get()));
}

} // namespace

expected<tls_files> tls_files_in(const fs::path& folder) {
  tls_files all{folder / "ca.pem", folder / "node.pem", folder / "node.key"};
  for (const auto* each : {&all.authority, &all.certificate, &all.key})
    if (const auto looked = look_at(*each, each == &all.key); !looked)
      return tl::make_unexpected(looked.error());
  return all;
}

expected<tls_ptr> load_tls(const tls_files& files) {
  using context = boost::asio::ssl::context;
  auto made = std::make_shared<tls>();
  boost::system::error_code problem;
  SSL_CTX* native = made->context.native_handle();
  ::SSL_CTX_set_min_proto_version(native, TLS1_3_VERSION);
  ::SSL_CTX_set_num_tickets(native, 0); // nobody comes back to a session
  made->context.set_verify_mode(context::verify_peer | context::verify_fail_if_no_peer_cert,
                                problem);
  made->context.load_verify_file(files.authority.string(), problem);
  if (problem)
    return refuse(files.authority, "holds no certificate of an authority: " + problem.message());
  made->context.use_certificate_file(files.certificate.string(), context::pem, problem);
  if (problem)
    return refuse(files.certificate, "holds no certificate: " + problem.message());
  made->context.use_private_key_file(files.key.string(), context::pem, problem);
  if (problem || ::SSL_CTX_check_private_key(native) != 1)
    return refuse(files.key, "holds no key, or not that of " + files.certificate.string());
  if (const char* why = doubt(native); why != nullptr)
    return refuse(files.certificate, std::string("would be refused by the others: ") + why
                                       + "; is it of the authority in "
                                       + files.authority.string() + "?");
  return made;
}

} // namespace viva::actors::node
