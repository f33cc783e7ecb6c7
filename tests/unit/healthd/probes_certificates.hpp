// Certificates for tests, made by OpenSSL: an authority, and what it signs. As PEM files in a folder of their own.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

namespace lbcluster::health::test {

using Key = std::shared_ptr<EVP_PKEY>;
using Certificate = std::shared_ptr<X509>;

struct Identity {
    Key key;
    Certificate certificate;
};

class Authority {
  public:
    Authority() {
        std::string name = "/tmp/probes_tls_test.XXXXXX";
        folder_ = ::mkdtemp(name.data());
        own_ = make("Test Authority", "", -3600, 86400, nullptr);
        write(own_, "authority");
    }
    ~Authority() { std::filesystem::remove_all(folder_); }
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;

    // `names` as OpenSSL writes them: "DNS:www.example, IP:127.0.0.1". Valid from and until: seconds from now.
    [[nodiscard]] Identity sign(const std::string& names, long from = -3600, long until = 86400) const {
        return make("server", names, from, until, &own_);
    }
    // NAME.pem and NAME.key
    void write(const Identity& identity, const std::string& name) const {
        const auto open = [&](const char* suffix) {
            return std::unique_ptr<FILE, int (*)(FILE*)>(std::fopen((file(name) + suffix).c_str(), "w"), std::fclose);
        };
        PEM_write_X509(open(".pem").get(), identity.certificate.get());
        PEM_write_PrivateKey(open(".key").get(), identity.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    }
    [[nodiscard]] std::string file(const std::string& name) const { return (folder_ / name).string(); }
    [[nodiscard]] const Identity& own() const { return own_; }

  private:
    static Identity make(const char* common_name, const std::string& names, long from, long until,
                         const Identity* issuer) {
        Identity made{Key(EVP_EC_gen("P-256"), EVP_PKEY_free), Certificate(X509_new(), X509_free)};
        X509* x = made.certificate.get();
        static long serial = 0;
        X509_set_version(x, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
        X509_gmtime_adj(X509_getm_notBefore(x), from);
        X509_gmtime_adj(X509_getm_notAfter(x), until);
        X509_set_pubkey(x, made.key.get());
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(common_name), -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(issuer != nullptr ? issuer->certificate.get() : x));
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer != nullptr ? issuer->certificate.get() : x, x, nullptr, nullptr, 0);
        const auto extend = [&](int nid, const std::string& value) {
            X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
            ASSERT_NE(extension, nullptr) << value;
            X509_add_ext(x, extension, -1);
            X509_EXTENSION_free(extension);
        };
        if (issuer == nullptr) extend(NID_basic_constraints, "critical,CA:TRUE");
        if (!names.empty()) extend(NID_subject_alt_name, names);
        EXPECT_NE(X509_sign(x, (issuer != nullptr ? issuer->key : made.key).get(), EVP_sha256()), 0);
        return made;
    }

    std::filesystem::path folder_;
    Identity own_;
};

}  // namespace lbcluster::health::test
