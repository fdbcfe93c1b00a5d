#include "pipeline/replica_pool.h"

#include <chrono>
#include <utility>

#include "core/timeline.h"

namespace reelm::pipeline {

namespace {
// A signal handler may set a CancelToken, but must not wake a condition variable.
constexpr std::chrono::milliseconds kPoll{50};
}  // namespace

ReplicaPool::ReplicaPool(Model& first, int count) {
  others_.reserve(static_cast<std::size_t>(count - 1));
  for (int i = 1; i < count; ++i) others_.push_back(first.replica());
  free_.reserve(size());
  // The first is at the end, where one is taken: an engine used by one thread warms up one model.
  for (Model& model : others_) free_.push_back(&model);
  free_.push_back(&first);
}

ReplicaPool::Lease ReplicaPool::take(const CancelToken* cancel) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (free_.empty()) {
    const TimelineSpan wait("replica.wait", SpanKind::kWait);
    while (free_.empty()) {
      if (cancel != nullptr) cancel->check();
      freed_.wait_for(lock, kPoll);
    }
  }
  Model& model = *free_.back();
  free_.pop_back();
  return {*this, model};
}

void ReplicaPool::give_back(Model& model) noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(&model);
  }
  freed_.notify_one();
}

ReplicaPool::Lease::Lease(Lease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), model_(other.model_) {}

ReplicaPool::Lease::~Lease() {
  if (pool_ != nullptr) pool_->give_back(*model_);
}

}  // namespace reelm::pipeline
