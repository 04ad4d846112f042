"""The sentences and the heads of tables that README has in English and in Korean; the numbers are filled in."""

from typing import Any

Words = dict[str, Any]
"""The texts of one language, by the place that they fill."""

WORDS: dict[str, Words] = {
    "README.md": {
        "net": "net",
        "train": "training error",
        "test": "test error",
        "mean": "mean ± standard deviation of {n} seeds",
        "cifar10": "The default recipe, `plusx train cifar10` (ResNet-20, 45 epochs of 45,000 images), reached "
        "{accuracy:.2f} % test accuracy in {minutes:.0f} minutes on {cpus} cores with AMX, at {pace:,.0f} images/s and "
        "with at most {memory:.2f} GiB of memory (n = 1, seed 0, torch {torch}).",
        "nets": ("file", "nets", "parameters"),
        "span": "{low:.2f} to {high:.2f} times (median {median:.2f})",
        "peers": "For the {nets} nets that torchvision or timm also have, with equal weights, in fp32 and contiguous "
        "memory, plusx reaches {forward} their throughput in the forward pass, and {train} in forward and backward "
        "pass together ({cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}).",
        "speed": ("net, batch", "processor", "PyTorch, fp32", "PyTorch, bf16", "torch.compile, bf16", "plusx")
        + ("speedup over fp32 (range)", "speedup over the fastest other (range)"),
        "accuracy": "`plusx train cifar10 --recipe {recipe}` reaches {mean:.2f} ± {std:.2f} % test accuracy (n = {n}) "
        "in {minutes:.1f} minutes, measured from the start of the command to its end.",
        "machine": "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}.",
        "experiments": ("`plusx reproduce`", "claim", "trainings", "reproduced"),
        "claims": {},
        "verdict": {},
        "table6": ("net", "test error in the paper (%)", "our test error (%)"),
        "steps": "He et al. (2015), Table 6. We use the paper's recipe with {steps:,} steps instead of 64,000 and a "
        "learning rate that rises over the first 400 steps; the weights are those of the last step.",
        "limited": "{processor}, {isa} at most",
        "unit": "The numbers are images/s of whole training steps.",
        "finetune": ("photographs", "ways to train", "validation error", "time"),
        "photographs": {
            "ants-bees": "ants and bees: 243 to train on, 153 to measure",
            "held-back": "20 classes that the weights have not seen: 500 to train on, 500 to measure",
        },
        "ways": {
            "scratch": "from random weights, for as long as fine-tuning",
            "quick": "`--from RUN --quick`",
            "finetune": "`--from RUN`",
        },
        "weights": "ResNet-18; mean ± standard deviation of n seeds. RUN was trained for 30 epochs on 45,000 "
        "photographs of 64 × 64 pixels, 180 classes of Tiny ImageNet, of which it gets {accuracy:.1f} % right.",
    },
    "README.ko.md": {
        "net": "신경망",
        "train": "학습 오류율",
        "test": "테스트 오류율",
        "mean": "시드 {n}개의 평균 ± 표준편차",
        "cifar10": "기본 레시피 `plusx train cifar10`(ResNet-20, 이미지 45,000장, 45 에폭)은 AMX를 지원하는 코어 "
        "{cpus}개에서 {minutes:.0f}분 만에 테스트 정확도 {accuracy:.2f} %에 도달했습니다. 처리량은 초당 {pace:,.0f}장, "
        "최대 메모리는 {memory:.2f} GiB입니다(n = 1, 시드 0, torch {torch}).",
        "nets": ("파일", "신경망", "파라미터"),
        "span": "{low:.2f}~{high:.2f}배(중앙값 {median:.2f})",
        "peers": "torchvision이나 timm에도 있는 신경망 {nets}개를 같은 가중치, fp32, 연속 메모리 형식으로 비교하면 "
        "처리량은 순전파에서 {forward}, 순전파와 역전파를 합하면 {train}입니다("
        "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}).",
        "speed": ("신경망, 배치", "프로세서", "PyTorch, fp32", "PyTorch, bf16", "torch.compile, bf16", "plusx")
        + ("fp32 대비 배속 (범위)", "가장 빠른 다른 방법 대비 배속 (범위)"),
        "accuracy": "`plusx train cifar10 --recipe {recipe}`: 테스트 정확도 {mean:.2f} ± {std:.2f} % (n = {n}), "
        "명령의 시작부터 끝까지 {minutes:.1f}분.",
        "machine": "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}.",
        "experiments": ("`plusx reproduce`", "논문의 주장", "학습 횟수", "재현 여부"),
        "verdict": {"yes": "재현됨", "in part": "일부 재현", "no": "재현 안 됨"},
        "claims": {
            "accounting": "AlexNet부터 DPN까지 오류율과 견준 파라미터 수, 연산량, 메모리",
            "ingredients": "작은 신경망의 구성 요소를 하나씩 바꿀 때의 효과. 한 층짜리 블록에는 이점이 없다",
            "worked-example": "시그모이드 세 개를 이은 예제에서 숏컷은 주 경로보다 40배 큰 기울기를 전달한다",
            "gates": "깊은 일반 신경망은 학습되지 않지만 하이웨이 신경망과 잔차 신경망은 학습된다",
            "degradation": "일반 신경망은 깊을수록 학습 오류율이 높고, 잔차 신경망은 낮다",
            "gradients": "깊은 일반 신경망의 성능 저하(degradation)는 기울기 소실 때문이 아니다. "
            "배치 정규화가 있으면 기울기의 크기는 정상이다",
            "cifar10-table": "잔차 신경망은 깊을수록 좋다. 테스트 오류율이 20층에서 8.75 %, 110층에서 6.43 %이다",
            "shortcuts": "숏컷 A, B, C는 모두 일반 신경망보다 훨씬 좋고 서로 간의 차이는 작다",
            "responses": "잔차 신경망의 층은 일반 신경망의 층보다 약하게 반응하고, 깊을수록 더 약하다",
            "lesions": "잔차 신경망은 블록 하나를 제거해도 성능이 거의 그대로이지만 일반 신경망은 무너진다",
            "stochastic-depth": "학습 중 블록을 무작위로 건너뛰면 테스트 오류율이 낮아진다",
            "ensemble": "깊이가 다른 신경망을 평균하면 그중 가장 좋은 신경망보다 오류율이 낮다",
            "imagenet-table": "ImageNet에서 깊은 잔차 신경망이 얕은 것보다 낫다",
        },
        "table6": ("신경망", "논문의 테스트 오류율 (%)", "우리 테스트 오류율 (%)"),
        "steps": "He et al. (2015), 표 6. 논문의 레시피를 64,000단계 대신 {steps:,}단계만 돌리고 처음 400단계 동안 "
        "학습률을 올렸으며, 가중치는 마지막 단계의 것입니다.",
        "limited": "{processor}, {isa}까지",
        "unit": "학습 단계 전체의 초당 이미지 수.",
        "finetune": ("사진", "학습 방법", "검증 오류율", "시간"),
        "photographs": {
            "ants-bees": "개미와 벌: 학습 243장, 평가 153장",
            "held-back": "가중치가 본 적 없는 클래스 20개: 학습 500장, 평가 500장",
        },
        "ways": {
            "scratch": "무작위 가중치에서 시작해 미세 조정과 같은 시간 동안",
            "quick": "`--from RUN --quick`",
            "finetune": "`--from RUN`",
        },
        "weights": "ResNet-18, 시드 n개의 평균 ± 표준편차. RUN은 64 × 64 픽셀 사진 45,000장(Tiny ImageNet의 클래스 "
        "180개)으로 30 에폭 동안 학습했으며 그 클래스들의 정확도는 {accuracy:.1f} %입니다.",
    },
}
