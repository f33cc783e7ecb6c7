#include "healthd/notify/transfer.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>
#include <utility>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

CURL* make_easy() {
    static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    LBC_ASSERT(code == CURLE_OK);
    CURL* easy = curl_easy_init();
    LBC_ASSERT(easy != nullptr);
    return easy;
}

std::size_t forget(char*, std::size_t size, std::size_t count, void*) { return size * count; }

}  // namespace

Transfer::Transfer(milliseconds timeout) : easy_(make_easy()), error_(CURL_ERROR_SIZE, '\0') {
    const long timeout_ms = static_cast<long>(timeout.count());
    set(CURLOPT_TIMEOUT_MS, timeout_ms);
    set(CURLOPT_SERVER_RESPONSE_TIMEOUT, std::max(timeout_ms / 1000, 1L));  // also for the answer to QUIT
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_QUICK_EXIT, 1L);  // a resolver that hangs is left behind
    set(CURLOPT_ERRORBUFFER, error_.data());
    set(CURLOPT_WRITEFUNCTION, &forget);
    set(CURLOPT_HEADERFUNCTION, &forget);
}

Transfer::~Transfer() {
    curl_easy_cleanup(easy_);
    for (curl_slist* list : lists_) curl_slist_free_all(list);
}

void Transfer::set_list(CURLoption option, const std::vector<std::string>& lines) {
    curl_slist* list = nullptr;
    for (const std::string& line : lines) {
        curl_slist* longer = curl_slist_append(list, line.c_str());
        ok_ = ok_ && longer != nullptr;
        if (longer != nullptr) list = longer;
    }
    lists_.push_back(list);
    set(option, list);
}

void Transfer::set_upload(std::string bytes) {
    upload_ = std::move(bytes);
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_READFUNCTION, &Transfer::read);
    set(CURLOPT_READDATA, static_cast<void*>(this));
}

std::size_t Transfer::read(char* to, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const std::size_t bytes = std::min(size * count, transfer.upload_.size() - transfer.uploaded_bytes_);
    std::memcpy(to, transfer.upload_.data() + transfer.uploaded_bytes_, bytes);
    transfer.uploaded_bytes_ += bytes;
    return bytes;
}

int Transfer::look_at_stop(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<const std::atomic<bool>*>(stop)->load() ? 1 : 0;  // 1: abort
}

Transfer::End Transfer::perform(const std::atomic<bool>& stop) {
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &Transfer::look_at_stop);
    set(CURLOPT_XFERINFODATA, const_cast<void*>(static_cast<const void*>(&stop)));
    if (!ok_) return {"libcurl does not take the settings", 0};
    End end;
    if (const CURLcode code = curl_easy_perform(easy_); code != CURLE_OK) {
        end.error = error_.front() != '\0' ? error_.c_str() : curl_easy_strerror(code);
    }
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &end.status);
    return end;
}

Transfers::~Transfers() {
    *alive_ = false;
    stop_ = true;
    if (threads_) threads_->join();
}

void Transfers::start(std::unique_ptr<Transfer> transfer, Done done) {
    if (!threads_) threads_ = std::make_unique<boost::asio::thread_pool>(at_once_max);
    boost::asio::post(*threads_,
                      [this, alive = alive_, transfer = std::move(transfer), done = std::move(done)]() mutable {
                          if (stop_) return;
                          const Transfer::End end = transfer->perform(stop_);
                          transfer.reset();  // may wait for the server
                          boost::asio::post(io_, [alive = std::move(alive), done = std::move(done), end] {
                              if (*alive) done(end);
                          });
                      });
}

}  // namespace lbcluster::health
