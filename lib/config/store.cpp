#include "lbcluster/config/store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <thread>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/base/descriptor.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/base/utf8.hpp"
#include "lib/config/content_files.hpp"
#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

Result<Descriptor> take_lock(const Paths& paths, std::chrono::milliseconds timeout) {
    const auto made = file_ops::make_folders(paths.state_dir, folder_mode);
    if (!made) return made.error();
    const std::string path = paths.state_dir + "/lock";
    Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600));
    if (!fd) return file_ops::system_error("lock", path, errno);
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) return file_ops::system_error("lock", path, errno);
        if (std::chrono::steady_clock::now() >= deadline) {
            return Error{"another change of the configuration is going on (" + path + " is locked)", "try again",
                         EWOULDBLOCK};
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return fd;
}

// What to do about what is in force and cannot be kept as a revision, as it cannot be read.
enum class Unreadable { refuse, set_aside };

// Everything below runs with the lock held.
class Store {
  public:
    explicit Store(const Paths& paths) : paths_(paths) {}

    Result<void> open() { return file_ops::make_folders(paths_.revisions_dir(), folder_mode); }

    // A change that was interrupted: finished if what is in force is exactly what it started from (or half of it).
    Result<void> finish_pending() {
        const auto text = file_ops::read_file(pending_file(), 256, false);
        if (!text) return text.error().code == ENOENT ? Result<void>{} : Result<void>{text.error()};
        const Pending pending = Pending::parse(*text);
        const auto wanted = read_revision(paths_, pending.number);
        if (wanted && was_interrupted(pending, *wanted)) {
            const auto done = write_content(paths_.config_dir, *wanted);
            if (!done) return done;
        }
        // Revisions of the peer that came before the one that should be in force, and it is missing.
        if (!wanted && wanted.error().code == ENOENT) {
            const auto gone = remove_revisions(pending.first, pending.number);
            if (!gone) return gone;
        }
        return clear_pending();
    }

    // Keeps what is in force if it is not the newest revision. The number of what is in force, 0 if there is nothing.
    Result<std::uint64_t> keep_hand_edit(std::optional<std::uint64_t>* kept) {
        const auto current = read_content(paths_.config_dir);
        if (!current) {
            return current.error().code == ENOENT ? Result<std::uint64_t>{0} : Result<std::uint64_t>{current.error()};
        }
        const std::string digest = digest_of(*current);
        const auto revisions = history(paths_);
        if (!revisions.empty() && revisions.front().digest() == digest) return revisions.front().number();
        Change change{hand_edit_author, "cluster.yaml or files/ was changed by hand"};
        if (revisions.empty()) change.reason = "what was there first";
        for (const Revision& old : revisions) {
            if (old.digest() != digest) continue;
            change.reason += ", back to revision " + std::to_string(old.number());
            break;
        }
        const std::string parent = revisions.empty() ? "" : revisions.front().digest();
        const std::uint64_t number = next_number();
        const auto written = write_revision(number, *current, digest, parent, change);
        if (!written) return written.error();
        *kept = number;
        const auto pruned = prune();
        if (!pruned) return pruned.error();
        return number;
    }

    // The content as a new revision, in force. What is there and would be lost is kept first: as a revision, or where
    // it cannot be one, set aside.
    Result<Applied> commit(const Content& content, const Change& change, Unreadable unreadable) {
        auto kept = keep_what_is_there(content, unreadable);
        if (!kept || !kept->applied.changed) return kept ? Result<Applied>(kept->applied) : kept.error();
        Applied applied = std::move(kept->applied);
        const std::string parent = kept->parent;
        applied.revision = next_number();
        // Before the revision is visible: a visible one that is not in force and not pending would look as if
        // somebody had gone back by hand.
        const auto pending = write_atomically(pending_file(), std::to_string(applied.revision), file_mode);
        if (!pending) return pending.error();
        auto done = write_revision(applied.revision, content, applied.digest, parent, change);
        if (done) done = write_content(paths_.config_dir, content);
        if (!done) {
            // Back to the old state: no revision remains of a change that failed.
            (void)file_ops::remove_tree(revision_dir(applied.revision));
            (void)clear_pending();
            return done.error();
        }
        // It is in force: what is left over by trouble in tidying up is removed by the next change.
        (void)clear_pending();
        (void)prune();
        return applied;
    }

    // Revisions of the peer, the last one in force; see commit().
    Result<Applied> take_over(const std::vector<Received>& chain) {
        auto kept = keep_what_is_there(chain.back().content, Unreadable::set_aside);
        if (!kept || !kept->applied.changed) return kept ? Result<Applied>(kept->applied) : kept.error();
        Applied applied = std::move(kept->applied);
        const std::uint64_t first = next_number();
        applied.revision = first + chain.size() - 1;
        const std::string pending = std::to_string(applied.revision) + " " + std::to_string(first) + " " + kept->parent;
        auto done = write_atomically(pending_file(), pending, file_mode);
        if (!done) return done.error();
        std::string parent = kept->parent;
        for (std::size_t i = 0; i < chain.size() && done; ++i) {
            const Revision& revision = chain[i].revision;
            const Change change{revision.author(), revision.reason()};
            done = write_revision(first + i, chain[i].content, revision.digest(), parent, change, revision.time());
            parent = revision.digest();
        }
        if (done) done = write_content(paths_.config_dir, chain.back().content);
        if (!done) {
            (void)remove_revisions(first, applied.revision);
            (void)clear_pending();
            return done.error();
        }
        (void)clear_pending();
        (void)prune();
        return applied;
    }

  private:
    // What the file `pending` says.
    struct Pending {
        std::uint64_t number = 0;
        std::uint64_t first = 0;          // 0: it is a change of this node
        std::optional<std::string> base;  // digest of what was in force, if not the revision's parent; may be empty

        static Pending parse(const std::string& text) {
            Pending pending;
            const char* const end = text.data() + text.size();
            const auto number = std::from_chars(text.data(), end, pending.number);
            if (number.ptr == end || *number.ptr != ' ') return pending;
            const auto first = std::from_chars(number.ptr + 1, end, pending.first);
            pending.base = first.ptr == end ? "" : std::string(first.ptr + 1, end);
            return pending;
        }
    };

    struct Kept {
        Applied applied;     // `changed` is false if `content` is in force already
        std::string parent;  // digest of what is in force; empty: nothing
    };

    Result<Kept> keep_what_is_there(const Content& content, Unreadable unreadable) {
        Kept kept;
        Applied& applied = kept.applied;
        applied.digest = digest_of(content);
        const auto there = read_content(paths_.config_dir);
        const auto files = read_files(paths_.config_dir);
        const bool readable = there || (there.error().code == ENOENT && files);
        if (!readable && unreadable == Unreadable::refuse) return refusal_to_lose(there, files);
        if (!readable || (!there && !files->empty() && *files != content.files)) {
            const auto moved = set_aside(readable ? Error{"there is no cluster.yaml beside it", "", 0}
                                                  : (files ? there.error() : files.error()));
            if (!moved) return moved.error();
            applied.set_aside = *moved;
        }
        const auto current = keep_hand_edit(&applied.hand_edit);
        if (!current) return current.error();
        const auto revisions = history(paths_);
        const bool in_force = *current != 0;
        kept.parent = in_force && !revisions.empty() ? revisions.front().digest() : "";
        if (in_force && kept.parent == applied.digest) {
            applied.revision = *current;
            applied.changed = false;
        }
        return kept;
    }

    // Those with these numbers, if there are any.
    Result<void> remove_revisions(std::uint64_t first, std::uint64_t last) {
        if (first == 0) return {};
        for (const std::uint64_t number : numbers()) {
            if (number < first || number > last) continue;
            const auto gone = file_ops::remove_tree(revision_dir(number));
            if (!gone) return gone;
        }
        return {};
    }

    static Error refusal_to_lose(const Result<Content>& there,
                                 const Result<std::map<std::string, std::string>>& files) {
        Error error = files ? there.error() : files.error();
        error.message += "; it would be lost";
        if (error.hint.empty()) error.hint = "put it right; 'lbcluster config reset' sets all of it aside";
        return error;
    }

    // cluster.yaml and files/, as far as there are any, go into a folder of their own below STATE_DIR.
    Result<SetAside> set_aside(const Error& why) {
        const std::string name = paths_.state_dir + "/set-aside-" + now_text();
        std::string folder = name;
        auto done = file_ops::make_folder(folder, 0700);
        for (int i = 2; !done && done.error().code == EEXIST; ++i) {  // two in one millisecond
            folder = name + "-" + std::to_string(i);
            done = file_ops::make_folder(folder, 0700);
        }
        for (const std::string part : {"cluster.yaml", "files"}) {
            const std::string from = paths_.config_dir + "/" + part;
            struct stat info{};
            if (!done || ::lstat(from.c_str(), &info) != 0) continue;
            done = file_ops::move_tree(from, folder + "/" + part);
        }
        if (done) done = file_ops::sync_folder(folder);
        if (done) done = file_ops::sync_folder(paths_.config_dir);
        if (!done) return done.error();
        return SetAside{folder, why.message};
    }

    static std::string now_text() {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        return format_rfc3339(
            static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()));
    }

    [[nodiscard]] std::string pending_file() const { return paths_.revisions_dir() + "/" + file_ops::pending_name; }
    [[nodiscard]] std::string revision_dir(std::uint64_t number) const {
        return paths_.revisions_dir() + "/" + std::to_string(number);
    }

    // Of all folders, also of damaged ones that history() passes over: they keep their numbers. Newest first.
    [[nodiscard]] std::vector<std::uint64_t> numbers() const {
        std::vector<std::uint64_t> found;
        const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(paths_.revisions_dir().c_str()), &::closedir);
        if (!folder) return found;
        for (const dirent* entry = ::readdir(folder.get()); entry != nullptr; entry = ::readdir(folder.get())) {
            const std::string name = entry->d_name;
            std::uint64_t number = 0;
            const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
            if (error == std::errc{} && end == name.data() + name.size()) found.push_back(number);
        }
        std::sort(found.rbegin(), found.rend());
        return found;
    }

    [[nodiscard]] std::uint64_t next_number() const {
        const auto taken = numbers();
        return taken.empty() ? 1 : taken.front() + 1;
    }

    bool was_interrupted(const Pending& what, const Content& wanted) const {
        const auto revisions = history(paths_);
        const auto pending = std::find_if(revisions.begin(), revisions.end(),
                                          [&](const Revision& r) { return r.number() == what.number; });
        if (pending == revisions.end()) return false;
        const std::string base = what.base.value_or(pending->parent());
        const auto current = read_content(paths_.config_dir);
        if (!current) return current.error().code == ENOENT && base.empty();
        if (digest_of(*current) == base) return true;
        // files/ new already, cluster.yaml still old.
        for (const Revision& revision : revisions) {
            if (revision.number() >= what.number || revision.digest() != base) continue;
            const auto parent = read_revision(paths_, revision.number());
            return parent && current->files == wanted.files && current->cluster_yaml == parent->cluster_yaml;
        }
        return false;
    }

    Result<void> write_revision(std::uint64_t number, const Content& content, const std::string& digest,
                                const std::string& parent, const Change& change, const std::string& time = now_text()) {
        Revision revision;
        revision.set_number(number);
        revision.set_digest(digest);
        if (!parent.empty()) revision.set_parent(parent);
        // Both come from outside, and a revision whose description cannot be read is none.
        revision.set_author(one_line(change.author));
        revision.set_time(time);
        revision.set_reason(one_line(change.reason));

        const std::string building = paths_.revisions_dir() + "/.new";
        auto done = file_ops::remove_tree(building);
        if (done) done = file_ops::make_folder(building, folder_mode);
        if (done) done = file_ops::write_new_file(building + "/cluster.yaml", content.cluster_yaml, file_mode);
        if (done && !content.files.empty()) done = write_files(building + "/files", content.files);
        if (done) done = file_ops::write_new_file(building + "/revision.yaml", to_yaml(revision), file_mode);
        if (done) done = file_ops::sync_folder(building);
        if (done) done = file_ops::rename_over(building, revision_dir(number));
        if (done) return file_ops::sync_folder(paths_.revisions_dir());
        (void)file_ops::remove_tree(building);
        return done;
    }

    Result<void> clear_pending() {
        auto done = file_ops::remove_tree(pending_file());
        if (done) done = file_ops::sync_folder(paths_.revisions_dir());
        return done;
    }

    // The oldest ones beyond revisions_max go, each by one rename before its files do.
    Result<void> prune() {
        const auto kept = numbers();
        for (std::size_t i = revisions_max; i < kept.size(); ++i) {
            const std::string going = paths_.revisions_dir() + "/.old";
            auto done = file_ops::remove_tree(going);
            if (done) done = file_ops::rename_over(revision_dir(kept[i]), going);
            if (done) done = file_ops::remove_tree(going);
            if (!done) return done;
        }
        return {};
    }

    const Paths& paths_;
};

// The lock, when nothing is interrupted any more and what is in force is what the change expects.
Result<Descriptor, Refusal> lock_and_settle(const Paths& paths, const Change& change) {
    auto lock = take_lock(paths, change.lock_timeout);
    if (!lock) return Refusal{lock.error(), {}};
    Store store(paths);
    auto ready = store.open();
    if (ready) ready = store.finish_pending();
    if (!ready) return Refusal{ready.error(), {}};
    if (!change.expected_digest.empty()) {
        const auto current = read_content(paths.config_dir);
        if (!current || digest_of(*current) != change.expected_digest) {
            return Refusal{
                {"the configuration was changed by somebody else in the meantime", "look at it, and try again", EAGAIN},
                {}};
        }
    }
    return std::move(*lock);
}

Result<Applied, Refusal> change_to(const Paths& paths, const Content& content, const Change& change, Problems warnings,
                                   Unreadable unreadable = Unreadable::refuse) {
    const auto lock = lock_and_settle(paths, change);
    if (!lock) return lock.error();
    auto applied = Store(paths).commit(content, change, unreadable);
    if (!applied) return Refusal{applied.error(), {}};
    applied->warnings = std::move(warnings);
    return std::move(*applied);
}

// Checks `content` as what would be in force on this node.
LoadResult check_content(const Paths& paths, const Content& content, const std::string& name,
                         const std::optional<Facts>& facts) {
    auto node = file_ops::read_file(paths.node_file(), text_bytes_max, true);
    std::optional<std::string> node_text;
    if (node) node_text = std::move(*node);
    LoadResult result = load_texts(node_text, content.cluster_yaml, name, facts);
    take_files(result, content.files);
    if (!node_text) {
        Problem problem{"node.yaml", 0, 0, node.error().message, node.error().hint};
        if (node.error().code == ENOENT) problem.hint = "write one with at least 'node: NAME'";
        result.problems.push_back(problem);
    }
    return result;
}

}  // namespace

Result<void> write_atomically(const std::string& path, const std::string& bytes, unsigned mode) {
    const std::string folder = folder_of(path);
    const std::string temporary = folder + "/." + path.substr(path.rfind('/') + 1) + ".new";
    struct stat info{};
    const bool existed = ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
    auto done = file_ops::remove_tree(temporary);
    if (done) done = file_ops::write_new_file(temporary, bytes, existed ? info.st_mode & 07777U : mode);
    // Only root can give files away; for others the owner is the same anyway.
    if (done && existed) (void)!::lchown(temporary.c_str(), info.st_uid, info.st_gid);
    if (done) done = file_ops::rename_over(temporary, path);
    if (done) return file_ops::sync_folder(folder);
    (void)file_ops::remove_tree(temporary);
    return done;
}

Result<Applied, Refusal> apply(const Paths& paths, const std::string& cluster_yaml, const std::string& name,
                               const std::optional<Facts>& facts, const Change& change) {
    Content content{cluster_yaml, {}};
    const auto current = read_content(paths.config_dir);
    Change on_top = change;
    if (current) {
        content.files = current->files;
        if (on_top.expected_digest.empty()) on_top.expected_digest = digest_of(*current);
    } else if (current.error().code == ENOENT) {
        auto files = read_files(paths.config_dir);
        if (!files) return Refusal{files.error(), {}};
        content.files = std::move(*files);
    } else {
        return Refusal{current.error(), {}};
    }
    LoadResult checked = check_content(paths, content, name, facts);
    if (!checked.ok()) return Refusal{{"the configuration is not valid", "", 0}, std::move(checked.problems)};
    return change_to(paths, content, on_top, std::move(checked.problems));
}

Result<Applied, Refusal> rollback(const Paths& paths, std::uint64_t number, const std::optional<Facts>& facts,
                                  const Change& change) {
    const auto content = read_revision(paths, number);
    if (!content) return Refusal{content.error(), {}};
    return apply_content(paths, *content, "cluster.yaml of revision " + std::to_string(number), facts, change);
}

Result<Applied, Refusal> apply_content(const Paths& paths, const Content& content, const std::string& name,
                                       const std::optional<Facts>& facts, const Change& change) {
    LoadResult checked = check_content(paths, content, name, facts);
    if (!checked.ok()) return Refusal{{name + " is not valid on this node", "", 0}, std::move(checked.problems)};
    return change_to(paths, content, change, std::move(checked.problems));
}

std::string factory_cluster_yaml() {
    return "# Factory settings: no floating IPs, heartbeat timers of the profile 'lan'.\n"
           "heartbeat:\n"
           "  profile: lan\n"
           "floating_ips: []\n";
}

Result<Applied, Refusal> reset(const Paths& paths, const Change& change) {
    return change_to(paths, {factory_cluster_yaml(), {}}, change, {}, Unreadable::set_aside);
}

Result<Applied, Refusal> put_back(const Paths& paths, const std::string& digest, const Change& change) {
    for (const Revision& revision : history(paths)) {
        if (revision.digest() != digest) continue;
        const auto content = read_revision(paths, revision.number());
        // A revision that was damaged is none.
        if (content && digest_of(*content) == digest)
            return change_to(paths, *content, change, {}, Unreadable::set_aside);
    }
    return Refusal{{"there is no revision with the digest " + digest.substr(0, 16), "", ENOENT}, {}};
}

Result<Applied, Refusal> take_over(const Paths& paths, const std::vector<Received>& chain,
                                   const std::optional<Facts>& facts, const Change& change) {
    LBC_ASSERT(!chain.empty());
    for (const Received& one : chain) LBC_ASSERT(digest_of(one.content) == one.revision.digest());
    LoadResult checked = check_content(paths, chain.back().content, "cluster.yaml", facts);
    if (!checked.ok())
        return Refusal{{"the configuration is not valid on this node", "", 0}, std::move(checked.problems)};
    const auto lock = lock_and_settle(paths, change);
    if (!lock) return lock.error();
    auto applied = Store(paths).take_over(chain);
    if (!applied) return Refusal{applied.error(), {}};
    applied->warnings = std::move(checked.problems);
    return std::move(*applied);
}

Result<std::uint64_t, Refusal> settle(const Paths& paths, std::chrono::milliseconds lock_timeout) {
    const auto lock = take_lock(paths, lock_timeout);
    if (!lock) return Refusal{lock.error(), {}};
    Store store(paths);
    auto ready = store.open();
    if (ready) ready = store.finish_pending();
    if (!ready) return Refusal{ready.error(), {}};
    std::optional<std::uint64_t> kept;
    const auto number = store.keep_hand_edit(&kept);
    if (!number) return Refusal{number.error(), {}};
    return *number;
}

Result<Content> read_revision(const Paths& paths, std::uint64_t number) {
    auto content = read_content(paths.revisions_dir() + "/" + std::to_string(number));
    if (!content && content.error().code == ENOENT) {
        return Error{"there is no revision " + std::to_string(number), "'lbcluster config history' lists them", ENOENT};
    }
    return content;
}

}  // namespace lbcluster::config
