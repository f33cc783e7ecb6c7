#include "replicator/keeper.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config/applied.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/machine/facts.hpp"

namespace lbcluster::replicator {

namespace {

constexpr unsigned file_mode = 0600;
constexpr std::size_t copy_bytes_max = std::size_t{1024} * 1024;  // of what is only shown: one frame on a slow link
constexpr const char* files_prefix = "files/";
constexpr const char* left_out = "Not shown: a private key, or too large.\n";

template <class Message>
Result<Message> read_message(const std::string& path) {
    const auto text = config::read_text(path);
    if (!text) return text.error();
    Message message;
    config::Positions positions;
    config::Problems problems;
    if (!config::parse_yaml(*text, path, message, positions, problems)) {
        return Error{config::format(problems.front()), "", EINVAL};
    }
    config::with_defaults(message);
    return message;
}

std::string lines_to_sentence(const config::Problems& problems) {
    constexpr std::size_t shown_max = 5;
    std::string text;
    std::size_t errors = 0;
    for (const config::Problem& problem : problems) {
        if (problem.warning || ++errors > shown_max) continue;
        text += (text.empty() ? "" : " | ") + config::format(problem);
    }
    return errors > shown_max ? text + " | and " + std::to_string(errors - shown_max) + " more" : text;
}

// Of what both nodes share; node.yaml's faults are this node's own.
config::Problems shared_errors(const config::LoadResult& loaded) {
    config::Problems out;
    for (const config::Problem& problem : loaded.problems) {
        if (!problem.warning && problem.file != "node.yaml") out.push_back(problem);
    }
    return out;
}

std::string digest_in_force(const config::Paths& paths) {
    const auto content = config::read_content(paths.config_dir);
    return content ? config::digest_of(*content) : "";
}

Own own_of(const std::string& digest, const std::vector<config::Revision>& revisions) {
    Own own{digest, true, {}};
    for (const config::Revision& revision : revisions) own.history.push_back(revision.digest());
    const bool kept = !revisions.empty() && revisions.front().digest() == digest;
    own.by_hand = !kept || revisions.front().author() == config::hand_edit_author;
    return own;
}

replica::Ledger message_of(const Ledger& ledger) {
    replica::Ledger out;
    out.set_digest(ledger.counted.digest);
    out.set_mine(ledger.counted.version.mine);
    out.set_peer(ledger.counted.version.peer);
    if (ledger.incoming) {
        out.set_incoming_digest(ledger.incoming->digest);
        out.set_incoming_mine(ledger.incoming->version.mine);
        out.set_incoming_peer(ledger.incoming->version.peer);
    }
    out.set_pair(ledger.pair);
    return out;
}

Ledger ledger_of(const replica::Ledger& message) {
    Ledger out;
    out.counted = {message.digest(), {message.mine(), message.peer()}};
    if (!message.incoming_digest().empty()) {
        out.incoming = Counted{message.incoming_digest(), {message.incoming_mine(), message.incoming_peer()}};
    }
    out.pair = message.pair();
    return out;
}

}  // namespace

// ---- what is in force ----

Look Keeper::look(bool may_change) {
    Look look;
    auto record = read_message<config::PeerRecord>(paths_.peer_file());
    if (record) look.peer = std::move(*record);
    else if (record.error().code != ENOENT) look.error = record.error().message;

    if (look.peer && !ledger_) {
        if (const auto kept = read_message<replica::Ledger>(ledger_file())) ledger_ = stored_ = ledger_of(*kept);
    }
    // What was being taken over at a stop is finished first: else it would count as a change made here.
    if (look.peer && ledger_ && ledger_->incoming) (void)config::settle(paths_, 5s);
    const config::LoadResult loaded = config::load(paths_, std::nullopt, config::Depth::outline);
    // The pair may have been ended meanwhile, and what was read be the cleared content.
    if (look.peer && ::access(paths_.peer_file().c_str(), F_OK) != 0) look.peer.reset();
    look.node = loaded.effective_node.node();
    look.log_level = config::written_text(loaded.effective_node.log_level());
    look.revision = loaded.revision;
    look.unconfirmed = unconfirmed(loaded.digest);
    if (!look.peer) {
        ledger_.reset();
        look.own = loaded.digest;
        return look;
    }
    read_ledger(look, loaded.digest, loaded.effective_node.role() != config::ROLE_SECONDARY);
    if (!ledger_) {
        look.error = "cluster.yaml cannot be read: " + lines_to_sentence(loaded.problems);
        return look;
    }
    look.own = loaded.digest;
    auto revisions = config::history(paths_);
    if (loaded.digest.empty()) {
        look.error = "cluster.yaml cannot be read: " + lines_to_sentence(loaded.problems);
        if (!may_change) put_back(look);
    } else {
        count(look, own_of(loaded.digest, revisions), may_change);
    }
    look.counted = ledger_->counted;
    if (look.own != loaded.digest || look.revision != loaded.revision) revisions = config::history(paths_);
    if (!look.error.empty()) look.own.clear();
    for (const config::Revision& revision : revisions) look.known.push_back(key_of(revision));
    return look;
}

void Keeper::read_ledger(const Look& look, const std::string& digest, bool primary) {
    const std::string& pair = look.peer->cluster_id();
    if (ledger_ && ledger_->pair == pair) return;
    ledger_.reset();
    // A new pair, or a ledger that was lost: on the secondary it counts for less than anything that the peer has.
    if (!digest.empty()) ledger_ = first_ledger(digest, pair, primary);
}

void Keeper::count(Look& look, const Own& own, bool may_change) {
    const Account counted = account(*ledger_, own, may_change);
    if (counted.set_aside) {
        if (const auto written = write_ledger(counted.ledger); !written) look.error = written.error().message;
        else put_back(look);
        return;
    }
    const bool changed = counted.ledger.counted.digest != ledger_->counted.digest;
    const bool kept = !own.history.empty() && own.history.front() == own.digest;
    if (changed || !kept) {
        // The daemons do not use it either: it is replicated when it is right. Whoever made a revision of it on purpose
        // has checked it.
        if (own.by_hand) {
            const auto errors = shared_errors(config::load(paths_, std::nullopt));
            if (!errors.empty()) {
                look.error = "the files were changed and are not valid: " + lines_to_sentence(errors);
                return;
            }
        }
        // An edit by hand becomes a revision, so that it goes over as one, and can be put back.
        const auto settled = config::settle(paths_, 5s);
        if (!settled) look.error = settled.error().error.message;
        else look.revision = *settled;
        if (!look.error.empty()) return;
    }
    if (const auto written = write_ledger(counted.ledger); !written) look.error = written.error().message;
}

void Keeper::put_back(Look& look) {
    config::Change change;
    change.author = "replicatord";
    change.reason = "put back: the configuration is changed on the active node";
    const auto done = config::put_back(paths_, ledger_->counted.digest, change);
    if (!done) {
        look.error = "an edit by hand on the passive node could not be set aside: " + done.error().error.message;
        return;
    }
    look.error.clear();
    look.own = done->digest;
    look.revision = done->revision;
    look.set_aside = done->hand_edit;
    if (!look.set_aside) {  // heartbeatd has kept it before us
        const auto revisions = config::history(paths_);
        if (revisions.size() > 1) look.set_aside = revisions[1].number();
    }
    const std::string where = done->set_aside  ? done->set_aside->folder
                              : look.set_aside ? "revision " + std::to_string(*look.set_aside)
                                               : "the history";
    look.notes.push_back({"hand-edit-set-aside", "alarm",
                          "files were edited by hand on the passive node: the edit is kept (" + where +
                              "), and what was in force is in force again"});
}

Result<void> Keeper::write_ledger(const Ledger& ledger) {
    if (stored_ != ledger) {
        const auto written = config::write_atomically(ledger_file(), config::to_yaml(message_of(ledger)), file_mode);
        if (!written) return written.error();
    }
    ledger_ = stored_ = ledger;
    return {};
}

Result<void> Keeper::set_version(const std::string& digest, const Version& version) {
    if (!ledger_ || ledger_->counted.digest != digest) {
        return Error{"the configuration was changed at this moment", "try again", EAGAIN};
    }
    Ledger ledger = *ledger_;
    ledger.counted.version = version;
    return write_ledger(ledger);
}

// ---- what waits to be confirmed ----

// The command writes the file before it changes anything: one about something else may be about what comes.
std::optional<replica::Unconfirmed> Keeper::unconfirmed(const std::string& digest) const {
    auto kept = read_message<replica::Unconfirmed>(paths_.unconfirmed_file());
    if (!kept) return std::nullopt;
    const auto until = parse_rfc3339(kept->until());
    if (until && !kept->digest().empty() && kept->digest() == digest) return std::move(*kept);
    if (!until || *until < realtime_ms_now()) ::unlink(paths_.unconfirmed_file().c_str());
    return std::nullopt;
}

std::optional<Note> Keeper::take_back() {
    const auto waiting = unconfirmed(digest_in_force(paths_));
    if (!waiting) return std::nullopt;
    config::Change change;
    change.author = "replicatord";
    change.reason = "taken back: not confirmed until " + waiting->until();
    change.expected_digest = waiting->digest();
    const auto done = config::put_back(paths_, waiting->before(), change);
    if (!done) {
        return Note{"not-taken-back", "warning",
                    "the configuration was not confirmed and cannot be taken back: " + done.error().error.message};
    }
    ::unlink(paths_.unconfirmed_file().c_str());
    return Note{"config-taken-back", "warning",
                "nobody has confirmed the configuration in time: the one before is in force again, as revision " +
                    std::to_string(done->revision)};
}

Result<void> Keeper::keep_unconfirmed(const std::optional<replica::Unconfirmed>& unconfirmed) {
    if (unconfirmed)
        return config::write_atomically(paths_.unconfirmed_file(), config::to_yaml(*unconfirmed), file_mode);
    ::unlink(paths_.unconfirmed_file().c_str());
    return {};
}

// ---- to the peer ----

Result<Parcel> Keeper::pack(const std::set<std::string>& peer_knows) {
    if (!ledger_) return Error{"the pair was ended at this moment", "", EAGAIN};
    std::vector<std::pair<config::Revision, config::Content>> going;  // newest first
    Parcel parcel;
    replica::Offer size;
    for (const config::Revision& revision : config::history(paths_)) {
        const bool first = going.empty();
        if (first && revision.digest() != ledger_->counted.digest) {
            return Error{"the configuration was changed at this moment", "", EAGAIN};
        }
        // The peer may have had the newest before; it is to be in force again.
        if (!first && peer_knows.contains(key_of(revision))) break;
        auto content = config::read_revision(paths_, revision.number());
        const bool whole = content && config::digest_of(*content) == revision.digest();
        if (first && !whole) return Error{"the newest revision cannot be read", "'lbcluster config history'", EIO};
        if (!whole) continue;
        if (!add_to_offer(revision, *content, size, parcel.contents)) break;
        going.emplace_back(revision, std::move(*content));
    }
    if (going.empty()) return Error{"there is no revision to send", "", ENOENT};
    for (auto one = going.rbegin(); one != going.rend(); ++one) {
        LBC_ASSERT(add_to_offer(one->first, one->second, parcel.offer, parcel.contents));
    }
    // Turned round: the receiver reads versions as the sender sees them.
    parcel.offer.mutable_version()->set_sender(ledger_->counted.version.mine);
    parcel.offer.mutable_version()->set_receiver(ledger_->counted.version.peer);
    return parcel;
}

replica::Copy Keeper::copy() {
    replica::Copy copy;
    if (const auto node = config::read_text(paths_.node_file())) copy.set_node_yaml(*node);
    const auto content = config::read_content(paths_.config_dir);
    if (!content) {
        copy.set_error(content.error().message);
        return copy;
    }
    replica::RevisionEntry& entry = *copy.mutable_content();
    entry.set_digest(config::digest_of(*content));
    std::size_t bytes = 0;
    const auto add = [&](const std::string& name, const std::string& body) {
        replica::FileEntry& file = *entry.add_files();
        file.set_name(name);
        file.set_sha256(sha256(body));
        file.set_bytes(body.size());
        if (body.find("PRIVATE KEY") != std::string::npos || bytes + body.size() > copy_bytes_max) return;
        bytes += body.size();
        (*copy.mutable_contents())[name] = body;
    };
    add("cluster.yaml", content->cluster_yaml);
    for (const auto& [name, body] : content->files) add(files_prefix + name, body);
    return copy;
}

Result<std::string> Keeper::keep_copy(const replica::Copy& copy) {
    namespace fs = std::filesystem;
    const std::string folder = paths_.state_dir + "/peer";
    const Contents own = have();
    try {
        fs::remove_all(folder);
        fs::create_directories(folder);
        fs::permissions(folder, fs::perms::owner_all);
        for (const replica::FileEntry& file : copy.content().files()) {
            if (!is_file_name(file.name())) {
                return Error{"the peer names a file '" + file.name() + "'", "", EPROTO};
            }
            const fs::path path = fs::path(folder) / file.name();
            fs::create_directories(path.parent_path());
            const auto sent = copy.contents().find(file.name());
            const auto same = own.find(file.sha256());
            const std::string& bytes = sent != copy.contents().end() ? sent->second
                                       : same != own.end()           ? same->second
                                                                     : left_out;
            if (auto done = config::write_atomically(path, bytes, file_mode); !done) return done.error();
        }
    } catch (const fs::filesystem_error& error) {
        return Error{"the peer's copy cannot be kept: " + std::string(error.what()), "is the disk full?",
                     error.code().value()};
    }
    if (auto done = config::write_atomically(folder + "/node.yaml", copy.node_yaml(), file_mode); !done) {
        return done.error();
    }
    return folder;
}

// ---- from the peer ----

Contents Keeper::have() {
    Contents out;
    const auto content = config::read_content(paths_.config_dir);
    if (!content) return out;
    out.emplace(sha256(content->cluster_yaml), content->cluster_yaml);
    for (const auto& [name, bytes] : content->files) out.emplace(sha256(bytes), bytes);
    return out;
}

Taken Keeper::take(std::vector<config::Received> chain, const Counted& offered, const std::set<IpPrefix>& floating) {
    LBC_ASSERT(!chain.empty());
    // The peer sends some again if what it knows of us is old. The last one is to be in force, had or not.
    std::set<std::string> had;
    for (const config::Revision& revision : config::history(paths_)) had.insert(key_of(revision));
    chain.erase(std::remove_if(chain.begin(), chain.end() - 1,
                               [&](const config::Received& one) { return had.contains(key_of(one.revision)); }),
                chain.end() - 1);
    const std::string before = digest_in_force(paths_);
    if (!ledger_) return {before, 5, {"this node is not ready to take a configuration over", "see its log", 0}};
    if (chain.back().revision.digest() != offered.digest)
        return {before, 1, {"the offer's version is of another", "", 0}};
    if (auto why = refusal_of(before, ledger_->counted, offered)) return {before, 5, std::move(*why)};
    Ledger with = *ledger_;
    with.incoming = offered;
    if (const auto written = write_ledger(with); !written) return {before, 1, written.error()};

    std::set<IpPrefix> not_own = floating;
    auto there = config::applied_cluster(paths_, before);
    if (!there) there = config::load(paths_, std::nullopt).cluster.config;
    for (const config::FloatingIp& ip : config::all_floating_ips(*there)) {
        if (const auto prefix = IpPrefix::parse(ip.address())) not_own.insert(*prefix);
    }
    config::Change change;
    change.expected_digest = before;
    const auto done = config::take_over(paths_, chain, machine_facts(not_own), change);

    Taken taken{digest_in_force(paths_)};
    Ledger after = *ledger_;
    after.incoming.reset();
    if (taken.digest == offered.digest) after.counted = offered;
    // What cannot be written stands in the ledger as incoming, and is found again.
    if (!write_ledger(after)) ledger_ = after;
    if (!done) {
        const config::Refusal& refusal = done.error();
        taken.exit_code = !refusal.problems.empty() ? 3 : refusal.error.code == EAGAIN ? 5 : 1;
        taken.error = refusal.error;
        if (!refusal.problems.empty()) taken.error.message += ": " + lines_to_sentence(refusal.problems);
    }
    return taken;
}

}  // namespace lbcluster::replicator
