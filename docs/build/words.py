"""The sentences and the heads of tables that README has in English and in Korean; the numbers are filled in."""

from typing import Any

Words = dict[str, Any]
"""The texts of one language, by the place that they fill."""

WORDS: dict[str, Words] = {
    "README.md": {
        "net": "net",
        "train": "training error",
        "test": "test error",
        "mean": "mean ± std of {n} seeds",
        "cifar10": "`plusx train cifar10` (ResNet-20, 45 epochs of 45,000 images) ended at {accuracy:.2f} % test "
        "accuracy after {minutes:.0f} minutes on {cpus} cores with AMX, {pace:,.0f} images/s, {memory:.2f} GiB at the "
        "peak (n = 1, seed 0, torch {torch}).",
        "nets": ("file", "nets", "parameters"),
        "span": "{low:.2f} to {high:.2f} times (median {median:.2f})",
        "peers": "{nets} nets that torchvision or timm also have, at equal weights, in fp32 and contiguous memory, "
        "reach {forward} their images/s forward, and {train} forward and backward ({cpu}, {cpus} cores, torch {torch}, "
        "commit {commit}, {date}).",
        "speed": ("net, batch", "processor", "PyTorch, fp32", "PyTorch, bf16", "torch.compile, bf16", "plusx")
        + ("over fp32 (range)", "over the fastest (range)"),
        "accuracy": "`plusx train cifar10 --recipe {recipe}`: {mean:.2f} ± {std:.2f} % test accuracy (n = {n}) after "
        "{minutes:.1f} minutes, from the start of the command to its end.",
        "machine": "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}.",
        "experiments": ("`plusx reproduce`", "the claim", "trainings", "seen here"),
        "claims": {},
        "verdict": {},
        "table6": ("net", "paper, test error (%)", "ours (%)"),
        "steps": "He et al. (2015), Table 6; the paper's recipe in {steps:,} steps, not 64,000, with a rate that rises "
        "over the first 400; the weights are those of the last step.",
        "all": "all of it",
        "limited": "limited to {isa}",
        "evidence": "{cpu}, {cpus} cores, torch {torch}, commit {commit}, {date}. Images/s of whole training steps.",
    },
    "README.ko.md": {
        "net": "신경망",
        "train": "학습 오류율",
        "test": "시험 오류율",
        "mean": "시드 {n}개의 평균 ± 표준편차",
        "cifar10": "`plusx train cifar10`(ResNet-20, 45,000장을 45 에폭)은 AMX가 있는 코어 {cpus}개에서 "
        "{minutes:.0f}분 만에 시험 정확도 {accuracy:.2f} %에 이르렀습니다. 초당 {pace:,.0f}장, "
        "최대 메모리 {memory:.2f} GiB (n = 1, 시드 0, torch {torch}).",
        "nets": ("파일", "신경망", "파라미터"),
        "span": "{low:.2f}~{high:.2f}배(중앙값 {median:.2f})",
        "peers": "torchvision이나 timm에도 있는 신경망 {nets}개를 같은 가중치, fp32, 같은 메모리 배치로 재면 초당 "
        "이미지 수가 순전파에서 {forward}, 순전파와 역전파에서 {train}입니다("
        "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}).",
        "speed": ("신경망, 배치", "프로세서", "PyTorch, fp32", "PyTorch, bf16", "torch.compile, bf16", "plusx")
        + ("fp32 대비 (범위)", "가장 빠른 것 대비 (범위)"),
        "accuracy": "`plusx train cifar10 --recipe {recipe}`: 명령을 시작해 끝날 때까지 {minutes:.1f}분 만에 "
        "시험 정확도 {mean:.2f} ± {std:.2f} % (n = {n}).",
        "machine": "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}.",
        "experiments": ("`plusx reproduce`", "논문의 주장", "학습 수", "여기서 보았는가"),
        "verdict": {"yes": "예", "in part": "일부", "no": "아니요"},
        "claims": {
            "accounting": "AlexNet에서 DPN까지, 오류율에 견준 파라미터와 연산과 메모리",
            "ingredients": "작은 신경망에서 한 부분씩 바꾸면 무엇이 달라지는가; 한 층짜리 블록은 이점이 없다",
            "worked-example": "시그모이드 세 개의 사슬에서 지름길은 주 경로의 40배인 기울기를 전한다",
            "gates": "깊은 일반 신경망은 학습되지 않고, 하이웨이와 잔차 신경망은 학습된다",
            "degradation": "일반 신경망은 깊을수록 학습 오류율이 높고, 잔차 신경망은 낮다",
            "gradients": "깊은 일반 신경망의 퇴화는 기울기 소실 때문이 아니다: 배치 정규화가 있으면 기울기는 건강하다",
            "cifar10-table": "잔차 신경망은 깊을수록 낫다: 시험 오류율이 20층에서 8.75 %, 110층에서 6.43 %",
            "shortcuts": "지름길 A, B, C는 모두 일반 신경망보다 훨씬 낫고 서로는 별 차이가 없다",
            "responses": "잔차 신경망의 층은 일반 신경망의 층보다 약하게 반응하고, 깊을수록 더 약하다",
            "lesions": "잔차 신경망은 블록 하나를 빼도 거의 그대로이고, 일반 신경망은 무너진다",
            "stochastic-depth": "학습하면서 블록을 무작위로 빼면 시험 오류율이 낮아진다",
            "ensemble": "깊이가 다른 신경망의 평균은 그중 가장 나은 것보다 덜 틀린다",
            "imagenet-table": "ImageNet에서 깊은 잔차 신경망이 얕은 것보다 낫다",
        },
        "table6": ("신경망", "논문의 시험 오류율 (%)", "우리 (%)"),
        "steps": "He et al. (2015), 표 6. 논문의 방법을 64,000 단계 대신 {steps:,} 단계로 줄이고 처음 400 단계 동안 "
        "학습률을 올렸으며, 가중치는 마지막 단계의 것입니다.",
        "all": "제한 없음",
        "limited": "{isa}까지만",
        "evidence": "{cpu}, 코어 {cpus}개, torch {torch}, 커밋 {commit}, {date}. 학습 단계 전체의 초당 이미지 수.",
    },
}
