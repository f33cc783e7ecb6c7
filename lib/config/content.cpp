// What both nodes share: reading cluster.yaml and files/, and their digest.
#include <dirent.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/base/utf8.hpp"
#include "lbcluster/config/load.hpp"
#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

constexpr int folder_depth_max = 4;

class Sha256 {
  public:
    Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        LBC_ASSERT(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }
    void add(const std::string& bytes) {
        LBC_ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
    }
    std::string hex() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
        unsigned length = 0;
        LBC_ASSERT(EVP_DigestFinal_ex(context_.get(), digest.data(), &length) == 1);
        std::string text;
        for (unsigned i = 0; i < length; ++i) {
            constexpr const char* digits = "0123456789abcdef";
            text += digits[digest.at(i) >> 4U];
            text += digits[digest.at(i) & 15U];
        }
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

struct FilesReader {
    std::map<std::string, std::string>& files;
    std::size_t bytes = 0;

    // `inside` is the path below files/, empty for files/ itself.
    Result<void> folder(const std::string& path, const std::string& inside, int depth) {
        if (depth > folder_depth_max) return Error{path + " is nested too deep", "at most 4 levels below files/", 0};
        const std::unique_ptr<DIR, int (*)(DIR*)> open_folder(::opendir(path.c_str()), &::closedir);
        if (!open_folder) return file_ops::system_error("read", path, errno);
        for (const dirent* entry = ::readdir(open_folder.get()); entry != nullptr;
             entry = ::readdir(open_folder.get())) {
            const std::string name = entry->d_name;
            if (name == "." || name == "..") continue;
            const auto result = one(path + "/" + name, inside.empty() ? name : inside + "/" + name, depth);
            if (!result) return result;
        }
        return {};
    }

    Result<void> one(const std::string& path, const std::string& inside, int depth) {
        struct stat info{};
        if (::lstat(path.c_str(), &info) != 0) {
            // Gone since it was listed: an editor's temporary file.
            return errno == ENOENT ? Result<void>{} : file_ops::system_error("read", path, errno);
        }
        if (S_ISDIR(info.st_mode)) return folder(path, inside, depth + 1);
        if (!S_ISREG(info.st_mode)) return Error{path + " is not a regular file", "remove it from files/", 0};
        if (!is_utf8(inside)) return Error{one_line(path) + " has a name that is not UTF-8", "rename it", 0};
        if (files.size() >= files_max) return Error{path + ": more than 1000 files in files/", "", 0};
        auto text = file_ops::read_file(path, files_bytes_max - bytes, false);
        if (!text) return text.error().code == ENOENT ? Result<void>{} : Result<void>{text.error()};
        bytes += text->size();
        files.emplace(inside, std::move(*text));
        return {};
    }
};

}  // namespace

std::string digest_of(const Content& content) {
    Sha256 sha;
    // Name, length, bytes of each: no two contents give the same stream.
    const auto add = [&sha](const std::string& name, const std::string& bytes) {
        sha.add(name + '\0' + std::to_string(bytes.size()) + '\0');
        sha.add(bytes);
    };
    add("cluster.yaml", content.cluster_yaml);
    for (const auto& [name, bytes] : content.files) add("files/" + name, bytes);
    return sha.hex();
}

Result<std::map<std::string, std::string>> read_files(const std::string& folder) {
    const std::string path = folder + "/files";
    std::map<std::string, std::string> files;
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) return files;
        return file_ops::system_error("read", path, errno);
    }
    if (!S_ISDIR(info.st_mode)) return Error{path + " is not a folder", "make it a real folder", 0};
    const auto read = FilesReader{files}.folder(path, "", 1);
    if (!read) return read.error();
    return files;
}

Result<Content> read_content(const std::string& folder) {
    Content content;
    auto text = file_ops::read_file(folder + "/cluster.yaml", text_bytes_max, true);
    if (!text) return text.error();
    content.cluster_yaml = std::move(*text);
    auto files = read_files(folder);
    if (!files) return files.error();
    content.files = std::move(*files);
    return content;
}

}  // namespace lbcluster::config
