// check_files(): what the configuration names in files/.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>

#include "lbcluster/config/load.hpp"
#include "lbcluster/config/manual.hpp"
#include "lib/config/check_parts.hpp"

namespace lbcluster::config {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Bytes = std::unique_ptr<BIO, decltype(&BIO_free)>;

Bytes bytes_of(const std::string& pem) {
    return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

// Nobody is there who could be asked for one.
int no_password(char*, int, int, void*) { return -1; }

Certificate certificate_of(const std::string& pem) {
    const Bytes bytes = bytes_of(pem);
    return {PEM_read_bio_X509(bytes.get(), nullptr, no_password, nullptr), &X509_free};
}

Key key_of(const std::string& pem) {
    const Bytes bytes = bytes_of(pem);
    return {PEM_read_bio_PrivateKey(bytes.get(), nullptr, no_password, nullptr), &EVP_PKEY_free};
}

class FileCheck {
  public:
    FileCheck(const std::map<std::string, std::string>& files, const Reporter& report)
        : files_(files), report_(report) {}

    void certificate(const std::string& path, const std::string& name) const {
        const std::string* pem = find(path, certificate_folder + name);
        if (pem == nullptr) return;
        const Certificate certificate = certificate_of(*pem);
        const Key key = key_of(*pem);
        if (!certificate) {
            report_.error(path, "files/certs/" + name + " has no certificate in it",
                          "PEM: -----BEGIN CERTIFICATE-----");
        } else if (!key) {
            report_.error(path, "files/certs/" + name + " has no private key in it that can be read",
                          "put the key, without a passphrase, behind the certificates in the same file");
        } else if (X509_check_private_key(certificate.get(), key.get()) != 1) {
            report_.error(path, "the private key in files/certs/" + name + " is not the first certificate's",
                          "the service's own certificate comes first, then its chain");
        }
        ERR_clear_error();
    }

    void authority(const std::string& path, const std::string& name) const {
        const std::string* pem = find(path, certificate_folder + name);
        if (pem == nullptr) return;
        if (!certificate_of(*pem)) {
            report_.error(path, "files/certs/" + name + " has no certificate in it",
                          "PEM: -----BEGIN CERTIFICATE-----");
        }
        ERR_clear_error();
    }

    void manual(const std::string& path, const std::string& name) const {
        const std::string* text = find(path, manual_folder + name);
        if (text == nullptr) return;
        const auto refused = parse_manual(*text).refused;
        if (!refused) return;
        report_.error(path,
                      "files/haproxy/" + name + " line " + std::to_string(refused->number) +
                          " is not a line of a frontend or backend",
                      "whole sections go into files/haproxy/additions.cfg; 'frontend' and 'backend' stand alone here");
    }

    void additions() const {
        const auto found = files_.find(additions_file);
        if (found == files_.end()) return;
        std::optional<NumberedLine> refused;
        static_cast<void>(parse_additions(found->second, refused));
        if (!refused) return;
        report_.error("virtual_services",
                      "files/haproxy/additions.cfg line " + std::to_string(refused->number) + " is not in a section",
                      "it has whole sections: frontend NAME, backend NAME ...");
    }

  private:
    [[nodiscard]] const std::string* find(const std::string& path, const std::string& name) const {
        const auto found = files_.find(name);
        if (found != files_.end()) return &found->second;
        report_.error(path, "there is no files/" + name, "put it into the configuration's folder files/");
        return nullptr;
    }

    const std::map<std::string, std::string>& files_;
    const Reporter& report_;
};

}  // namespace

Problems check_files(const ClusterFile& cluster, const std::map<std::string, std::string>& files) {
    Problems problems;
    const Reporter report(cluster.name, cluster.positions, problems);
    const FileCheck check(files, report);
    for (int i = 0; i < cluster.config.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.config.virtual_services(i);
        const std::string path = "virtual_services[" + std::to_string(i) + "].";
        for (int c = 0; c < service.tls().certificates_size(); ++c) {
            check.certificate(path + "tls.certificates[" + std::to_string(c) + "]", service.tls().certificates(c));
        }
        if (service.tls().has_server_ca()) check.authority(path + "tls.server_ca", service.tls().server_ca());
        if (service.has_manual()) check.manual(path + "manual", service.manual());
    }
    check.additions();
    return problems;
}

void take_files(LoadResult& result, std::map<std::string, std::string> files) {
    const Problems more = check_files(result.cluster, files);
    result.problems.insert(result.problems.end(), more.begin(), more.end());
    std::stable_sort(result.problems.begin(), result.problems.end(), [](const Problem& a, const Problem& b) {
        if (a.file != b.file) return a.file < b.file;
        return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
    result.files = std::move(files);
}

}  // namespace lbcluster::config
