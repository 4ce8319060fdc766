"""Layouts of public data sets, as they unpack; each serves any other set of the same names."""

from __future__ import annotations

from pipelines.sources.layout_table import LAYOUTS, Layout

LAYOUTS.register("lol")(
    Layout(
        title="LOL",
        about="Photographs of the same scenes at short and long exposure, 485 + 15 pairs of 600 x 400 pixels (Wei et "
        "al., Deep Retinex Decomposition for Low-Light Enhancement, BMVC 2018). The layout serves every other set with "
        "folders low and high below its splits as well.",
        degraded="{**/}{split}/low/{id}.{ext}",
        clean="{**/}{split}/high/{id}.{ext}",
        split_names={"our485": "train", "eval15": "test"},
        examples={
            "train": ("our485/low/2.png", "our485/high/2.png"),
            "test": ("eval15/low/1.png", "eval15/high/1.png"),
        },
        notes=("The paper of RDDM equalises the histogram of the dark pictures: `data.equalise_input: true`.",),
    )
)
LAYOUTS.register("lol_v2_real")(
    Layout(
        title="LOL-v2, real",
        about="The larger successor of LOL, 689 + 100 real pairs (Yang et al., Sparse Gradient Regularized Deep "
        "Retinex Network for Robust Low-Light Image Enhancement, TIP 2021).",
        degraded="{**/}{split}/Low/low{id}.{ext}",
        clean="{**/}{split}/Normal/normal{id}.{ext}",
        split_names={"Train": "train", "Test": "test"},
        examples={
            "train": ("Real_captured/Train/Low/low00001.png", "Real_captured/Train/Normal/normal00001.png"),
            "test": ("Real_captured/Test/Low/low00690.png", "Real_captured/Test/Normal/normal00690.png"),
        },
        notes=("Both sides put a word of their own before the number; the synthetic half of the set is left out.",),
    )
)
LAYOUTS.register("lol_v2_synthetic")(
    Layout(
        title="LOL-v2, synthetic",
        about="The synthetic half of LOL-v2, 900 + 100 pairs made of raw photographs (Yang et al., TIP 2021).",
        degraded="{**/}{split}/Low/{id:r[^/]*}.{ext}",
        clean="{**/}{split}/Normal/{id:r[^/]*}.{ext}",
        split_names={"Train": "train", "Test": "test"},
        examples={
            "train": ("Synthetic/Train/Low/r000da54ft.png", "Synthetic/Train/Normal/r000da54ft.png"),
            "test": ("Synthetic/Test/Low/r00816405t.png", "Synthetic/Test/Normal/r00816405t.png"),
        },
        notes=("Only names that begin with r are taken, so that the real half may lie beside it.",),
    )
)
LAYOUTS.register("istd")(
    Layout(
        title="ISTD",
        about="Triples of a shadow, its mask and the scene without it, 1330 + 540 of 640 x 480 pixels (Wang et al., "
        "Stacked Conditional Generative Adversarial Networks for Jointly Learning Shadow Detection and Shadow Removal, "
        "CVPR 2018).",
        degraded="{**/}{split}_A/{id}.{ext}",
        clean="{**/}{split}_C/{id}.{ext}",
        mask="{**/}{split}_B/{id}.{ext}",
        examples={
            "train": ("train/train_A/1-1.png", "train/train_B/1-1.png", "train/train_C/1-1.png"),
            "test": ("test/test_A/100-1.png", "test/test_B/100-1.png", "test/test_C/100-1.png"),
        },
        notes=(
            "A is the shadow, B the mask, C the clean picture.",
            "The two exposures of a triple differ in colour; AISTD corrects the clean side.",
        ),
        task="masked_restoration",
    )
)
LAYOUTS.register("aistd")(
    Layout(
        title="AISTD (ISTD+)",
        about="ISTD with the colours of the clean side adjusted to the shadow's, 1330 + 540 triples (Le and Samaras, "
        "Shadow Removal via Shadow Image Decomposition, ICCV 2019).",
        degraded="{**/}{split}_A/{id}.{ext}",
        clean="{**/}{split}_C_fixed_{*}/{id}.{ext}",
        mask="{**/}{split}_B/{id}.{ext}",
        examples={
            "train": ("train/train_A/1-1.png", "train/train_B/1-1.png", "train/train_C_fixed_ours/1-1.png"),
            "test": ("test/test_A/100-1.png", "test/test_B/100-1.png", "test/test_C_fixed_official/100-1.png"),
        },
        notes=("The clean folders of the two splits end differently. Those of ISTD may stand beside them, unused.",),
        task="masked_restoration",
    )
)
LAYOUTS.register("srd")(
    Layout(
        title="SRD",
        about="Shadows and shadow-free scenes, 2680 + 408 pairs (Qu et al., DeshadowNet, CVPR 2017).",
        degraded="{**/}{split}/shadow/{id}.{ext}",
        clean="{**/}{split}/shadow_free/{id}_{*:no_shadow|free}.{ext}",
        split_names={"Train": "train", "Test": "test"},
        examples={
            "train": ("Train/shadow/IMG_5410.jpg", "Train/shadow_free/IMG_5410_no_shadow.jpg"),
            "test": ("Test/shadow/_MG_2750.jpg", "Test/shadow_free/_MG_2750_free.jpg"),
        },
        notes=(
            "The clean names end in `_no_shadow` in one split and in `_free` in the other.",
            "Masks are published apart from it; name them in `data.source.mask` for `masked_restoration`.",
        ),
    )
)
LAYOUTS.register("raindrop")(
    Layout(
        title="RainDrop",
        about="Scenes through wet and dry glass, 861 + 58 pairs of 720 x 480 pixels (Qian et al., Attentive Generative "
        "Adversarial Network for Raindrop Removal, CVPR 2018).",
        degraded="{**/}{split}/data/{id}_rain.{ext}",
        clean="{**/}{split}/gt/{id}_clean.{ext}",
        split_names={"test_a": "test", "test_b": "skip"},
        examples={
            "train": ("train/data/0_rain.png", "train/gt/0_clean.png"),
            "test": ("test_a/data/0_rain.png", "test_a/gt/0_clean.png"),
            "skip": ("test_b/data/0_rain.jpg", "test_b/gt/0_clean.jpg"),
        },
        notes=(
            "Papers report test_a, and so does this layout. test_b contains it and has the same numbers, so it is left "
            "out; to take it instead, set `split_names: {test_a: skip, test_b: test}`.",
        ),
    )
)
LAYOUTS.register("gopro")(
    Layout(
        title="GoPro",
        about="Motion blur averaged from fast video, 2103 + 1111 pairs of 1280 x 720 pixels in 22 + 11 scenes (Nah et "
        "al., Deep Multi-Scale Convolutional Neural Network for Dynamic Scene Deblurring, CVPR 2017).",
        degraded="{**/}{split}/{scene}/blur/{id}.{ext}",
        clean="{**/}{split}/{scene}/sharp/{id}.{ext}",
        examples={
            "train": ("train/GOPR0372_07_00/blur/000047.png", "train/GOPR0372_07_00/sharp/000047.png"),
            "test": ("test/GOPR0384_11_00/blur/000001.png", "test/GOPR0384_11_00/sharp/000001.png"),
        },
        notes=(
            "Numbers repeat between scenes, so the scene is part of the key; a scene is never divided between training "
            "and validation.",
            'To learn from the gamma-corrected blur, set `degraded: "{**/}{split}/{scene}/blur_gamma/{id}.{ext}"`.',
        ),
    )
)
LAYOUTS.register("rain100")(
    Layout(
        title="Rain100L and Rain100H",
        about="Drawn rain, light (200 + 100 pairs) and heavy (1800 + 100), as most papers use it (Yang et al., Deep "
        "Joint Rain Detection and Removal from a Single Image, CVPR 2017).",
        degraded="{**/}Rain{split:Train|100}{set:[LH]}/{**/}rain-{id}.{ext}",
        clean="{**/}Rain{split:Train|100}{set:[LH]}/{**/}norain-{id}.{ext}",
        split_names={"Train": "train", "100": "test"},
        examples={
            "train": ("RainTrainH/rain-1.png", "RainTrainH/norain-1.png"),
            "test": ("Rain100H/rainy/rain-001.png", "Rain100H/norain-001.png"),
        },
        notes=(
            "Both sides may lie in one folder; their names differ in one word.",
            "Light and heavy rain keep apart in the key: `train/H/1`. Give the folder of one of them to train on it "
            "alone. 546 of the 1800 heavy training scenes are known to show test scenes; look for leakage first.",
        ),
    )
)
LAYOUTS.register("rain100_pku")(
    Layout(
        title="Rain100L and Rain100H, as their authors pack them",
        about="The same data from the authors' page, where the rainy side carries the clean side's name and `x2`.",
        degraded="{**/}rain_data_{split}_{set}/rain/{**/}norain-{id}x2.{ext}",
        clean="{**/}rain_data_{split}_{set}/norain/{**/}norain-{id}.{ext}",
        examples={
            "train": ("rain_data_train_Heavy/rain/X2/norain-1x2.png", "rain_data_train_Heavy/norain/norain-1.png"),
            "test": ("rain_data_test_Heavy/rain/X2/norain-001x2.png", "rain_data_test_Heavy/norain/norain-001.png"),
        },
        notes=("Files of the rain side are named norain, too: only the folder tells them apart.",),
    )
)
LAYOUTS.register("rain800")(
    Layout(
        title="Rain800",
        about="Drawn rain, 700 + 100 pairs, both pictures side by side in one file (Zhang et al., Image De-raining "
        "Using a Conditional Generative Adversarial Network, 2017).",
        degraded="{**/}{split:training|test_syn}/{id}.{ext}",
        clean="{**/}{split:training|test_syn}/{id}.{ext}",
        degraded_part="right",
        clean_part="left",
        split_names={"training": "train", "test_syn": "test"},
        examples={"train": ("training/1.jpg",), "test": ("test_syn/1.jpg",)},
        notes=("The clean picture is the left half. Copies with the halves exchanged exist: look at one first.",),
    )
)
LAYOUTS.register("rain1200")(
    Layout(
        title="Rain1200",
        about="Drawn rain of three densities, 12,000 + 1200 pairs, both pictures side by side in one file (Zhang and "
        "Patel, Density-aware Single Image De-raining using a Multi-stream Dense Network, CVPR 2018).",
        degraded="{**/}DID-MDN-{split:training|test}/{id:.+}.{ext}",
        clean="{**/}DID-MDN-{split:training|test}/{id:.+}.{ext}",
        degraded_part="left",
        clean_part="right",
        split_names={"training": "train"},
        examples={
            "train": ("DID-MDN-training/Rain_Heavy/train2018new/1.jpg",),
            "test": ("DID-MDN-test/1.jpg",),
        },
        notes=("The rainy picture is the left half, other than in Rain800. Densities keep apart by their folders.",),
    )
)
LAYOUTS.register("rain1400")(
    Layout(
        title="Rain1400",
        about="1000 photographs with 14 kinds of drawn rain each, 12,600 + 1400 pairs (Fu et al., Removing Rain from "
        "Single Images via a Deep Detail Network, CVPR 2017).",
        degraded="{**/}{split:training|testing}/rainy_image/{id}_{rain}.{ext}",
        clean="{**/}{split:training|testing}/ground_truth/{id}.{ext}",
        split_names={"training": "train", "testing": "test"},
        examples={
            "train": ("training/rainy_image/1_1.jpg", "training/rainy_image/1_2.jpg", "training/ground_truth/1.jpg"),
            "test": ("testing/rainy_image/901_1.jpg", "testing/ground_truth/901.jpg"),
        },
        notes=("Many to one: all rain on one photograph stays in one split.",),
    )
)
LAYOUTS.register("reside_indoor")(
    Layout(
        title="RESIDE, indoor",
        about="Synthetic haze from measured depth: ITS with 13,990 hazy pictures of 1399 rooms, and 500 of 50 rooms in "
        "SOTS (Li et al., Benchmarking Single-Image Dehazing and Beyond, TIP 2019).",
        degraded="{**/}{split:ITS|indoor}/{**/}{*:(ITS_)?haz[ey]}/{id}_{haze}.{ext}",
        clean="{**/}{split:ITS|indoor}/{**/}{*:(ITS_)?clear|gt}/{id}.{ext}",
        split_names={"ITS": "train", "indoor": "test"},
        examples={
            "train": ("ITS/hazy/1_1_0.90179.png", "ITS/hazy/1_2_0.97842.png", "ITS/clear/1.png"),
            "test": ("SOTS/indoor/hazy/1400_1.png", "SOTS/indoor/gt/1400.png"),
        },
        notes=(
            "Many to one: `1_1_0.90179.png` is room 1 in the haze 1_0.90179; all haze in one room stays in one split.",
            "The depth's transmission maps (`trans`) are left out.",
        ),
    )
)
LAYOUTS.register("reside_outdoor")(
    Layout(
        title="RESIDE, outdoor",
        about="Synthetic haze on outdoor photographs: OTS with 35 hazy versions of each of 2061, and 500 in SOTS (Li "
        "et al., Benchmarking Single-Image Dehazing and Beyond, TIP 2019).",
        degraded="{**/}{split:OTS|outdoor}/{**/}{*:haz[ey]}/{**/}{id}_{haze}.{ext}",
        clean="{**/}{split:OTS|outdoor}/{**/}{*:clear|gt}/{id}.{ext}",
        split_names={"OTS": "train", "outdoor": "test"},
        examples={
            "train": ("OTS/hazy/part1/0005_0.8_0.2.jpg", "OTS/hazy/part2/0005_0.95_0.12.jpg", "OTS/clear/0005.jpg"),
            "test": ("SOTS/outdoor/hazy/0001_0.8_0.2.jpg", "SOTS/outdoor/gt/0001.png"),
        },
        notes=("Many to one, and the extensions of both sides differ in SOTS. The parts of OTS lie below `hazy`.",),
    )
)
LAYOUTS.register("sidd")(
    Layout(
        title="SIDD, sRGB",
        about="Noise of smartphone cameras: 320 pairs in SIDD-Medium, 160 in SIDD-Small, of 160 scenes (Abdelhamed et "
        "al., A High-Quality Denoising Dataset for Smartphone Cameras, CVPR 2018).",
        degraded="{**/}{scene}/{*}NOISY_SRGB_{id}.{ext}",
        clean="{**/}{scene}/{*}GT_SRGB_{id}.{ext}",
        examples={
            "train": (
                "Data/0001_001_S6_00100_00060_3200_L/0001_NOISY_SRGB_010.PNG",
                "Data/0001_001_S6_00100_00060_3200_L/0001_GT_SRGB_010.PNG",
                "Data/0002_001_S6_00100_00020_3200_N/NOISY_SRGB_010.PNG",
                "Data/0002_001_S6_00100_00020_3200_N/GT_SRGB_010.PNG",
            ),
        },
        notes=(
            "Both pictures lie in a folder for each scene; the number before the name is there in Medium only.",
            "There is no test split; a scene is never divided between training and validation.",
        ),
    )
)
LAYOUTS.register("snow100k")(
    Layout(
        title="Snow100K",
        about="Drawn snow with its masks, 50,000 + 50,000 triples; the test set has three parts by the size of flakes "
        "(Liu et al., DesnowNet: Context-Aware Deep Network for Snow Removal, TIP 2018).",
        degraded="{**/}Snow100K-{split:training|testset}/{**/}{set}/synthetic/{id}.{ext}",
        clean="{**/}Snow100K-{split:training|testset}/{**/}{set}/gt/{id}.{ext}",
        mask="{**/}Snow100K-{split:training|testset}/{**/}{set}/mask/{id}.{ext}",
        split_names={"training": "train", "testset": "test"},
        examples={
            "train": (
                "Snow100K-training/all/synthetic/city_read_00001.jpg",
                "Snow100K-training/all/gt/city_read_00001.jpg",
                "Snow100K-training/all/mask/city_read_00001.jpg",
            ),
            "test": (
                "Snow100K-testset/jdway/GameSSD/overlapping/test/Snow100K-L/synthetic/beautiful_smile_00003.jpg",
                "Snow100K-testset/jdway/GameSSD/overlapping/test/Snow100K-L/gt/beautiful_smile_00003.jpg",
                "Snow100K-testset/jdway/GameSSD/overlapping/test/Snow100K-L/mask/beautiful_smile_00003.jpg",
            ),
        },
        notes=("The test archive holds the folders of the machine that it was packed on.",),
        task="masked_restoration",
    )
)
LAYOUTS.register("polyu")(
    Layout(
        title="PolyU",
        about="Noise of five cameras against the mean of many exposures, 100 crops of 512 x 512 pixels (Xu et al., "
        "Real-world Noisy Image Denoising: A New Benchmark, 2018).",
        degraded="{**/}{id}_real.{ext}",
        clean="{**/}{id}_mean.{ext}",
        examples={
            "train": (
                "CroppedImages/Canon5D2_5_160_3200_chair_11_real.JPG",
                "CroppedImages/Canon5D2_5_160_3200_chair_11_mean.JPG",
            ),
        },
        notes=(
            "Both sides lie in one folder, the mean of all exposures being the clean one. There is no test split.",
            "Where they were sorted into `real` and `mean`, set the templates instead of the layout.",
        ),
    )
)
LAYOUTS.register("uieb")(
    Layout(
        title="UIEB",
        about="Underwater photographs and the best of twelve enhancements of each, chosen by people, 890 pairs (Li et "
        "al., An Underwater Image Enhancement Benchmark Dataset and Beyond, TIP 2020).",
        degraded="{**/}raw-890/{**/}{id}.{ext}",
        clean="{**/}reference-890/{**/}{id}.{ext}",
        examples={"train": ("raw-890/2_img_.png", "reference-890/2_img_.png")},
        notes=("There is no test split; papers hold 90 pairs out, each its own. The 60 without reference are unused.",),
    )
)
LAYOUTS.register("euvp")(
    Layout(
        title="EUVP, paired",
        about="Underwater pictures and enhanced ones in three collections, 11,435 pairs to train on and 515 to test "
        "(Islam et al., Fast Underwater Image Enhancement for Improved Visual Perception, RA-L 2020).",
        degraded="{**/}{set:underwater_[a-z]+|test_samples}/{split:trainA|Inp}/{id}.{ext}",
        clean="{**/}{set:underwater_[a-z]+|test_samples}/{split:trainB|GTr}/{id}.{ext}",
        split_names={"trainA": "train", "trainB": "train", "Inp": "test", "GTr": "test"},
        examples={
            "train": (
                "Paired/underwater_dark/trainA/264286_00007889.jpg",
                "Paired/underwater_dark/trainB/264286_00007889.jpg",
            ),
            "test": ("test_samples/Inp/test_p0_.jpg", "test_samples/GTr/test_p0_.jpg"),
        },
        notes=("A is the poor side. The folders called `validation` have no partners and are unused.",),
    )
)
LAYOUTS.register("div2k_x4")(
    Layout(
        title="DIV2K, 4 times smaller",
        about="Photographs of about 2000 pixels and their bicubic reductions, 800 + 100 pairs (Agustsson and Timofte, "
        "NTIRE 2017 Challenge on Single Image Super-Resolution).",
        degraded="{**/}DIV2K_{split}_LR_bicubic/X4/{id}x4.{ext}",
        clean="{**/}DIV2K_{split}_HR/{id}.{ext}",
        degraded_scale=4,
        split_names={"valid": "test"},
        examples={
            "train": ("DIV2K_train_LR_bicubic/X4/0001x4.png", "DIV2K_train_HR/0001.png"),
            "test": ("DIV2K_valid_LR_bicubic/X4/0801x4.png", "DIV2K_valid_HR/0801.png"),
        },
        notes=(
            "The small side is enlarged, bicubic, before anything else. Clean pictures whose sides are no multiple of "
            "4 do not fit their partners exactly and are set aside.",
            "The public validation pictures are the test split, as papers use them.",
        ),
    )
)
LAYOUTS.register("realsr_x4")(
    Layout(
        title="RealSR, 4 times",
        about="The same scenes at a short and a long focal length, aligned, taken with two cameras (Cai et al., Toward "
        "Real-World Single Image Super-Resolution: A New Benchmark and A New Model, ICCV 2019).",
        degraded="{**/}{camera:Canon|Nikon}/{split}/4/{id}_LR4.{ext}",
        clean="{**/}{camera:Canon|Nikon}/{split}/4/{id}_HR.{ext}",
        split_names={"Train": "train", "Test": "test"},
        examples={
            "train": ("RealSR(V3)/Canon/Train/4/Canon_001_LR4.png", "RealSR(V3)/Canon/Train/4/Canon_001_HR.png"),
            "test": ("RealSR(V3)/Nikon/Test/4/Nikon_001_LR4.png", "RealSR(V3)/Nikon/Test/4/Nikon_001_HR.png"),
        },
        notes=("Both sides have the same size already.",),
    )
)
LAYOUTS.register("afhq")(
    Layout(
        title="AFHQ, cats to dogs",
        about="Faces of cats, dogs and wild animals, about 5000 of each (Choi et al., StarGAN v2, CVPR 2020). For "
        "other kinds set the templates.",
        kind="unpaired_folders",
        degraded="{**/}{split}/cat/{id}.{ext}",
        clean="{**/}{split}/dog/{id}.{ext}",
        split_names={"val": "test"},
        examples={
            "train": ("afhq/train/cat/flickr_cat_000002.jpg", "afhq/train/dog/flickr_dog_000002.jpg"),
            "test": ("afhq/val/cat/flickr_cat_000008.jpg", "afhq/val/dog/flickr_dog_000043.jpg"),
        },
        notes=("Its folder val is the test split; a share of each side's training pictures becomes validation.",),
        task="translation",
    )
)
LAYOUTS.register("celeba_hq_to_afhq")(
    Layout(
        title="CelebA-HQ to AFHQ, men to cats",
        about="Faces of people and of cats as StarGAN v2 unpacks them: the setting of RDDM's translation (paper, "
        "section 5.3). For other kinds set the templates.",
        kind="unpaired_folders",
        degraded="{**/}celeba_hq/{split}/male/{id}.{ext}",
        clean="{**/}afhq/{split}/cat/{id}.{ext}",
        split_names={"val": "test"},
        examples={
            "train": ("celeba_hq/train/male/000016.jpg", "afhq/train/cat/flickr_cat_000002.jpg"),
            "test": ("celeba_hq/val/male/003033.jpg", "afhq/val/cat/flickr_cat_000008.jpg"),
        },
        task="translation",
    )
)
