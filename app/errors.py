"""What can go wrong, in the service's own words; knows no HTTP.

    ServiceError
    ├── InvalidInputError    empty text, too many texts, unknown perturbation, bad filter
    ├── NotFoundError        no such collection, document or job
    ├── ConflictError        same name with another dimension or another encoder
    ├── TooLargeError        body or document over the limit
    ├── OverloadedError      queue full; carries the seconds after which to try again
    ├── NotReadyError        no artifact or store yet, or draining
    ├── InferenceError       ONNX Runtime raised; details go to the log, not to the client
    ├── StoreError           the disk is full or read-only, or the vector engine failed
    ├── ArtifactError        start-up: hash, dimension or opset mismatch
    └── ProviderError        start-up: device=cuda asked for and no CUDA provider came up

Each message says what was got, what was expected and what to do. The status codes live in
``app/api/problems.py`` alone.
"""


class ServiceError(Exception):
    """Any error that the service explains to its caller; ``code`` names its kind on the wire."""

    code = "service-error"

    @property
    def message(self) -> str:
        """The sentence for the caller."""
        return str(self.args[0]) if self.args else self.code


class InvalidInputError(ServiceError):
    """The request is well formed but asks for something that cannot be done."""

    code = "invalid-input"


class NotFoundError(ServiceError):
    """The collection, document or job does not exist."""

    code = "not-found"


class ConflictError(ServiceError):
    """The request contradicts what is stored, such as another dimension or encoder."""

    code = "conflict"


class TooLargeError(ServiceError):
    """A body, text or batch is over its limit."""

    code = "too-large"


class OverloadedError(ServiceError):
    """The queue is full.

    Attributes:
        retry_after_s: Seconds after which trying again is sensible.
    """

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReadyError(ServiceError):
    """The service is starting, draining, or has lost its encoder or store."""

    code = "not-ready"


class InferenceError(ServiceError):
    """The session raised while running a batch."""

    code = "inference-failed"


class StoreError(ServiceError):
    """The store could not do its work: disk full or read-only, or the vector engine failed."""

    code = "store-failed"


class ArtifactError(ServiceError):
    """The artifact on disk is not what its manifest says, or cannot be served."""

    code = "artifact-invalid"


class ProviderError(ServiceError):
    """The device that was asked for is not there."""

    code = "provider-missing"
