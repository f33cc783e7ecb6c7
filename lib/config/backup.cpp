#include "lbcluster/config/backup.hpp"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <vector>

#include "lbcluster/base/time.hpp"
#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

constexpr std::string_view head_line = "lbcluster backup 1\n";
constexpr std::string_view any_head_line = "lbcluster backup ";
constexpr std::size_t sum_size = 64;

// What STATE_DIR has that a node cannot do without; other names in a backup are refused.
constexpr std::array<const char*, 4> secret_names{"keys/heartbeat.key", "keys/replica", "keys/replica.pub",
                                                  "peer.yaml"};

std::string sum_of(std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr);
    std::string text;
    for (unsigned i = 0; i < length; ++i) {
        constexpr const char* digits = "0123456789abcdef";
        text += digits[digest.at(i) >> 4U];
        text += digits[digest.at(i) & 15U];
    }
    return text;
}

Error broken(const std::string& why) { return {"this is no backup that can be used: " + why, "", EPROTO}; }

Content content_of(const Backup& backup) {
    return {backup.cluster_yaml(), {backup.files().begin(), backup.files().end()}};
}

// Takes back in turn what was written, unless it is kept.
class Written {
  public:
    ~Written() {
        for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
    }
    Result<void> write(const std::string& path, const std::string& bytes, unsigned mode) {
        const auto old = file_ops::read_file(path, files_bytes_max, false);
        if (!old && old.error().code != ENOENT) return old.error();
        steps_.emplace_back([path, mode, bytes = old ? std::optional(*old) : std::nullopt] {
            if (bytes) (void)write_atomically(path, *bytes, mode);
            else ::unlink(path.c_str());
        });
        return write_atomically(path, bytes, mode);
    }
    void keep() { steps_.clear(); }

  private:
    std::vector<std::function<void()>> steps_;
};

Result<void> write_secrets(const Paths& paths, const Backup& backup, Written& written) {
    Result<void> done;
    if (!backup.secrets().empty()) done = file_ops::make_folders(paths.keys_dir(), 0700);
    for (const auto& [name, bytes] : backup.secrets()) {
        if (!done) return done;
        done = written.write(paths.state_dir + "/" + name, bytes, name == "peer.yaml" ? 0644 : 0600);
    }
    if (!done || backup.authorized_keys().empty()) return done;
    const std::string folder = paths.peer_home() + "/.ssh";
    done = file_ops::make_folders(folder, 0755);
    if (done) done = written.write(folder + "/authorized_keys", backup.authorized_keys(), 0644);
    return done;
}

}  // namespace

Result<Backup> make_backup(const Paths& paths, bool secrets, const std::string& version) {
    const auto content = read_content(paths.config_dir);
    if (!content) return content.error();
    const auto node = read_text(paths.node_file());
    if (!node) return node.error();
    const LoadResult loaded = load(paths, std::nullopt);
    Backup backup;
    backup.set_version(version);
    backup.set_node(loaded.effective_node.node());
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    backup.set_time(
        format_rfc3339(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count())));
    backup.set_revision(loaded.revision);
    backup.set_digest(digest_of(*content));
    backup.set_cluster_yaml(content->cluster_yaml);
    for (const auto& [name, bytes] : content->files) (*backup.mutable_files())[name] = bytes;
    backup.set_node_yaml(*node);
    if (!secrets) return backup;
    for (const char* name : secret_names) {
        const auto bytes = file_ops::read_file(paths.state_dir + "/" + name, text_bytes_max, false);
        if (bytes) (*backup.mutable_secrets())[name] = *bytes;
        else if (bytes.error().code != ENOENT) return bytes.error();
    }
    const std::string keys = paths.peer_home() + "/.ssh/authorized_keys";
    const auto authorized = file_ops::read_file(keys, text_bytes_max, false);
    if (authorized) backup.set_authorized_keys(*authorized);
    else if (authorized.error().code != ENOENT) return authorized.error();
    return backup;
}

std::string backup_file(const Backup& backup) {
    const std::string body = backup.SerializeAsString();
    return std::string(head_line) + sum_of(body) + "\n" + body;
}

Result<Backup> read_backup(const std::string& bytes) {
    const std::string_view text = bytes;
    if (!text.starts_with(any_head_line)) return broken("its first line is not that of 'lbcluster config backup'");
    if (!text.starts_with(head_line)) return broken("it is of a newer version of lbcluster");
    const std::size_t head = head_line.size() + sum_size + 1;
    if (text.size() < head) return broken("it was cut off");
    const std::string_view body = text.substr(head);
    if (sum_of(body) != text.substr(head_line.size(), sum_size)) return broken("it was cut off, or changed");
    Backup backup;
    if (!backup.ParseFromString(std::string(body)) || digest_of(content_of(backup)) != backup.digest()) {
        return broken("it is damaged");
    }
    for (const auto& [name, secret] : backup.secrets()) {
        const auto known = [&](const char* one) { return name == one; };
        if (std::none_of(secret_names.begin(), secret_names.end(), known)) return broken("it has a file " + name);
    }
    return backup;
}

Result<Applied, Refusal> restore(const Paths& paths, const Backup& backup, const std::optional<Facts>& facts,
                                 const Change& change) {
    return apply_content(paths, content_of(backup), "cluster.yaml of the backup", facts, change);
}

Result<Applied, Refusal> restore_node(const Paths& paths, const Backup& backup, const std::optional<Facts>& facts,
                                      const Change& change) {
    LoadResult checked = load_texts(backup.node_yaml(), backup.cluster_yaml(), "cluster.yaml of the backup", facts);
    if (!checked.ok()) {
        return Refusal{{"the backup is not valid on this machine", "", 0}, std::move(checked.problems)};
    }
    Written written;
    auto done = write_secrets(paths, backup, written);
    if (done) done = written.write(paths.node_file(), backup.node_yaml(), 0644);
    if (!done) return Refusal{done.error(), {}};
    auto applied = restore(paths, backup, facts, change);
    if (applied) written.keep();
    return applied;
}

}  // namespace lbcluster::config
